//! RemoveImage.

use crate::error::Error;

use super::Images;

impl Images {
    /// Removes an image with all its names. One that does not exist counts as removed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty reference; [`Error::Precondition`] when a running container uses it: then it keeps all
    /// its names.
    pub(crate) async fn remove(&self, reference: &str) -> Result<(), Error> {
        if reference.is_empty() {
            return Err(Error::invalid("image", "image.image", "is missing"));
        }
        let _guard = self.removing.lock().await;
        let id = match self.identify(reference).await {
            Ok((id, _)) => id,
            Err(Error::Docker(error)) if error.is_not_found() || error.is_invalid() => return Ok(()),
            Err(error) => return Err(error),
        };
        match self.engine.remove_image(&id, false).await {
            Err(error) if error.is_conflict() => self.remove_by_force(&id, &error.message()).await?,
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        Ok(self.refresh().await?)
    }

    /// Docker requires force for an image with names in several repositories, or with exited containers. With force it
    /// removes the names before it notices a running container, so running containers are looked up first.
    async fn remove_by_force(&self, id: &str, refusal: &str) -> Result<(), Error> {
        let users = self.engine.running_containers_of(id).await?;
        if !users.is_empty() {
            return Err(Error::precondition(
                format!("image {id}"),
                format!("is used by {}: {refusal}", users.join(", ")),
            ));
        }
        match self.engine.remove_image(id, true).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}
