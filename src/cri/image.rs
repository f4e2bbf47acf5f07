//! The ImageService.

use std::sync::Arc;

use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::proto::image_service_server::ImageService;
use crate::proto::*;

use super::chunks::Messages;
use super::chunks::chunked;
use super::service::Service;

type RpcResult<T> = Result<Response<T>, Status>;

/// The image's name in a request; empty when it is missing.
fn name(spec: Option<ImageSpec>) -> String {
    spec.map(|spec| spec.image).unwrap_or_default()
}

#[tonic::async_trait]
impl ImageService for Service {
    type StreamImagesStream = Messages<StreamImagesResponse>;

    async fn list_images(&self, request: Request<ListImagesRequest>) -> RpcResult<ListImagesResponse> {
        let filter = name(request.into_inner().filter.and_then(|filter| filter.image));
        Ok(Response::new(ListImagesResponse { images: self.images.list(&filter) }))
    }

    async fn image_status(&self, request: Request<ImageStatusRequest>) -> RpcResult<ImageStatusResponse> {
        let request = request.into_inner();
        let found = self.images.status(&name(request.image), request.verbose).await?;
        let (image, info) = found.map_or((None, Default::default()), |(image, info)| (Some(image), info));
        Ok(Response::new(ImageStatusResponse { image, info }))
    }

    /// Not a job: a pull stops when its client disconnects.
    async fn pull_image(&self, request: Request<PullImageRequest>) -> RpcResult<PullImageResponse> {
        let request = request.into_inner();
        let image_ref = self.images.pull(&name(request.image), request.auth.as_ref()).await?;
        Ok(Response::new(PullImageResponse { image_ref }))
    }

    async fn remove_image(&self, request: Request<RemoveImageRequest>) -> RpcResult<RemoveImageResponse> {
        let (images, name) = (Arc::clone(&self.images), name(request.into_inner().image));
        self.job(async move { images.remove(&name).await }).await?;
        Ok(Response::new(RemoveImageResponse {}))
    }

    async fn image_fs_info(&self, _: Request<ImageFsInfoRequest>) -> RpcResult<ImageFsInfoResponse> {
        let filesystem = self.images.filesystem();
        Ok(Response::new(ImageFsInfoResponse {
            image_filesystems: vec![filesystem.clone()],
            container_filesystems: vec![filesystem],
        }))
    }

    async fn stream_images(&self, request: Request<StreamImagesRequest>) -> RpcResult<Self::StreamImagesStream> {
        let filter = name(request.into_inner().filter.and_then(|filter| filter.image));
        Ok(chunked(self.images.list(&filter), |images| StreamImagesResponse { images }))
    }
}
