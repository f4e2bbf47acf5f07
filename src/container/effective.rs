//! What is in force for a container where its configuration leaves it to the image.

use crate::error::Error;
use crate::proto::ContainerUser;
use crate::proto::LinuxContainerUser;
use crate::proto::Signal;
use crate::proto::SupplementalGroupsPolicy;
use crate::state::ContainerRecord;
use crate::state::Identity;

use super::describe;
use super::spec;

/// The highest number of an ordinary signal, and Docker's numbers for the first and last realtime ones.
const LAST_ORDINARY: i32 = 31;
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Whom the main process starts as, if that is known: the image tells what is not given by number.
pub(super) fn user(record: &ContainerRecord) -> Option<ContainerUser> {
    let security = spec::security_context(&record.config);
    let Identity { uid, gid, groups: of_the_image } =
        record.identity.clone().or_else(|| Identity::of_numbers(&asked(record)?))?;
    // Docker adds the primary group itself, and the kernel sorts them.
    let mut groups = vec![gid];
    groups.extend(&security.supplemental_groups);
    if !is_strict(record) {
        groups.extend(of_the_image);
    }
    groups.sort_unstable();
    groups.dedup();
    Some(ContainerUser { linux: Some(LinuxContainerUser { uid, gid, supplemental_groups: groups }) })
}

/// Docker's `User` of the container: the configuration's, else the image's.
fn asked(record: &ContainerRecord) -> Option<String> {
    let security = spec::security_context(&record.config);
    let asked = spec::user("container", &security).ok()?;
    asked.or_else(|| record.image_settings.as_ref().map(|settings| settings.user.clone()))
}

/// The same, if the image's accounts say who that is: all but two numbers.
pub(super) fn user_left_to_image(record: &ContainerRecord) -> Option<String> {
    let user = asked(record)?;
    Identity::of_numbers(&user).is_none().then_some(user)
}

/// Whether the process shall have none of the groups that the image gives its user.
pub(super) fn is_strict(record: &ContainerRecord) -> bool {
    let security = spec::security_context(&record.config);
    security.supplemental_groups_policy() == SupplementalGroupsPolicy::Strict
}

/// What `User` has to be for a container of the policy Strict, if it is not yet so: Docker leaves the image's groups
/// out where a group is named together with the user.
///
/// # Errors
/// [`Error::Precondition`] when the image does not tell the user's group.
pub(super) fn strict_user(record: &ContainerRecord) -> Result<Option<String>, Error> {
    if !is_strict(record) || asked(record).is_some_and(|user| user.contains(':')) {
        return Ok(None);
    }
    match &record.identity {
        Some(identity) => Ok(Some(format!("{}:{}", identity.uid, identity.gid))),
        None => Err(Error::Precondition(format!(
            "{}: linux.security_context.supplemental_groups_policy: the image does not tell the user's group, so \
             run_as_user and run_as_group have to",
            describe(&record.config)
        ))),
    }
}

/// The signal that StopContainer begins with: the configuration's, else the image's, else SIGTERM.
pub(super) fn stop_signal(record: &ContainerRecord) -> Signal {
    match record.config.stop_signal() {
        Signal::RuntimeDefault => match &record.image_settings {
            // Docker takes what it does not know for nothing said.
            Some(settings) => signal_of(&settings.stop_signal).unwrap_or(Signal::Sigterm),
            None => Signal::RuntimeDefault,
        },
        asked => asked,
    }
}

/// The CRI's signal for Docker's name or number of one.
fn signal_of(text: &str) -> Option<Signal> {
    let name = match text.parse::<i32>() {
        Ok(number @ 1..=LAST_ORDINARY) => nix::sys::signal::Signal::try_from(number).ok()?.as_str().to_owned(),
        Ok(RTMIN) => "SIGRTMIN".to_owned(),
        Ok(number @ RTMIN..50) => format!("SIGRTMINPLUS{}", number - RTMIN),
        Ok(RTMAX) => "SIGRTMAX".to_owned(),
        Ok(number @ 50..RTMAX) => format!("SIGRTMAXMINUS{}", RTMAX - number),
        Ok(_) => return None,
        Err(_) => {
            let name = text.to_uppercase().replace('+', "PLUS").replace('-', "MINUS");
            format!("SIG{}", name.trim_start_matches("SIG"))
        }
    };
    Signal::from_str_name(&format!("SIGNAL_{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ContainerConfig;
    use crate::proto::Int64Value;
    use crate::proto::LinuxContainerConfig;
    use crate::proto::LinuxContainerSecurityContext;
    use crate::state::ImageSettings;
    use crate::state::Phase;

    fn record(image_user: &str, security: LinuxContainerSecurityContext) -> ContainerRecord {
        let linux = LinuxContainerConfig { security_context: Some(security), ..Default::default() };
        ContainerRecord {
            version: 1,
            key: "k".into(),
            name: "n".into(),
            id: "i".into(),
            sandbox_id: "s".into(),
            phase: Phase::Live,
            created_at: 1,
            image_id: "sha256:1".into(),
            image_settings: Some(ImageSettings { user: image_user.into(), ..Default::default() }),
            identity: None,
            config: ContainerConfig { linux: Some(linux), ..Default::default() },
        }
    }

    #[test]
    fn a_user_is_told_when_both_numbers_are_known() {
        let id = |value| Some(Int64Value { value });
        let asked = |uid, gid, groups: &[i64]| LinuxContainerSecurityContext {
            run_as_user: uid,
            run_as_group: gid,
            supplemental_groups: groups.to_vec(),
            ..Default::default()
        };
        let told = |record: &ContainerRecord| user(record).and_then(|user| user.linux);
        let known =
            |uid, gid, groups: &[i64]| Some(LinuxContainerUser { uid, gid, supplemental_groups: groups.to_vec() });
        for (image, security, expected) in [
            ("", asked(id(1), id(2), &[]), known(1, 2, &[2])),
            ("7:8", asked(id(1), id(2), &[3, 2]), known(1, 2, &[2, 3])),
            ("7:8", asked(None, None, &[9]), known(7, 8, &[8, 9])),
            ("7:8", asked(id(1), None, &[]), None),
            ("7", asked(None, None, &[]), None),
            ("", asked(None, None, &[]), None),
            ("www-data:8", asked(None, None, &[]), None),
            ("7:4294967296", asked(None, None, &[]), None),
        ] {
            assert_eq!(told(&record(image, security.clone())), expected, "{image} {security:?}");
        }
        assert_eq!(user(&ContainerRecord { image_settings: None, ..record("7:8", Default::default()) }), None);
    }

    #[test]
    fn the_stop_signal_is_the_requests_else_the_images_else_sigterm() {
        let mut container = record("", Default::default());
        let mut told = |image: Option<&str>, asked: Signal| {
            let settings = |signal: &str| ImageSettings { stop_signal: signal.to_owned(), ..Default::default() };
            container.image_settings = image.map(settings);
            container.config.stop_signal = asked.into();
            stop_signal(&container)
        };
        for (image, expected) in [
            ("", Signal::Sigterm),
            ("SIGQUIT", Signal::Sigquit),
            ("usr1", Signal::Sigusr1),
            ("9", Signal::Sigkill),
            ("SIGRTMIN+3", Signal::Sigrtminplus3),
            ("37", Signal::Sigrtminplus3),
            ("34", Signal::Sigrtmin),
            ("50", Signal::Sigrtmaxminus14),
            ("64", Signal::Sigrtmax),
            ("RTMAX-1", Signal::Sigrtmaxminus1),
            ("nonsense", Signal::Sigterm),
            ("0", Signal::Sigterm),
        ] {
            assert_eq!(told(Some(image), Signal::RuntimeDefault), expected, "{image}");
            assert_eq!(told(Some(image), Signal::Sighup), Signal::Sighup);
        }
        assert_eq!(told(None, Signal::RuntimeDefault), Signal::RuntimeDefault);
    }
}
