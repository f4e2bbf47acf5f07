//! The effective user and stop signal of a container: its configuration's, else its image's.

use crate::error::Error;
use crate::proto::ContainerUser;
use crate::proto::LinuxContainerUser;
use crate::proto::Signal;
use crate::proto::SupplementalGroupsPolicy;
use crate::state::ContainerRecord;
use crate::state::Identity;

use super::describe;
use super::spec;

/// The highest number of a standard signal (signal(7)).
const LAST_STANDARD: i32 = 31;
/// Docker's number for the first realtime signal.
const RTMIN: i32 = 34;
/// Docker's number for the last realtime signal.
const RTMAX: i32 = 64;

/// The user and groups of the init process, if known: the image's accounts resolve what is not given by number.
pub(super) fn user(record: &ContainerRecord) -> Option<ContainerUser> {
    let security = spec::security_context(&record.config);
    let Identity { uid, gid, groups: image_groups } =
        record.identity.clone().or_else(|| Identity::of_numbers(&configured(record)?))?;
    // Docker adds the primary group itself, and the kernel sorts them.
    let mut groups = vec![gid];
    groups.extend(&security.supplemental_groups);
    if !is_strict(record) {
        groups.extend(image_groups);
    }
    groups.sort_unstable();
    groups.dedup();
    Some(ContainerUser { linux: Some(LinuxContainerUser { uid, gid, supplemental_groups: groups }) })
}

/// Docker's `User` of the container: the configuration's, else the image's.
fn configured(record: &ContainerRecord) -> Option<String> {
    let security = spec::security_context(&record.config);
    let user = spec::user("container", &security).ok()?;
    user.or_else(|| record.image_settings.as_ref().map(|settings| settings.user.clone()))
}

/// The same, if it needs the image's accounts: anything but two numbers.
pub(super) fn user_left_to_image(record: &ContainerRecord) -> Option<String> {
    let user = configured(record)?;
    Identity::of_numbers(&user).is_none().then_some(user)
}

/// Whether the policy is Strict: the process gets no groups from the image.
pub(super) fn is_strict(record: &ContainerRecord) -> bool {
    let security = spec::security_context(&record.config);
    security.supplemental_groups_policy() == SupplementalGroupsPolicy::Strict
}

/// The value of `User` for the policy Strict, if it has to be replaced: Docker adds no groups from the image if `User`
/// names a group.
///
/// # Errors
/// [`Error::Unsupported`] if the user's group is not known.
pub(super) fn strict_user(record: &ContainerRecord) -> Result<Option<String>, Error> {
    if !is_strict(record) || configured(record).is_some_and(|user| user.contains(':')) {
        return Ok(None);
    }
    match &record.identity {
        Some(identity) => Ok(Some(format!("{}:{}", identity.uid, identity.gid))),
        None => Err(Error::unsupported(
            describe(&record.config),
            "linux.security_context.supplemental_groups_policy",
            "the group of the image's user is not known; set run_as_user and run_as_group",
        )),
    }
}

/// The stop signal: the configuration's, else the image's, else SIGTERM.
pub(super) fn stop_signal(record: &ContainerRecord) -> Signal {
    match record.config.stop_signal() {
        Signal::RuntimeDefault => match &record.image_settings {
            // Docker ignores a signal that it does not know.
            Some(settings) => signal_of(&settings.stop_signal).unwrap_or(Signal::Sigterm),
            None => Signal::RuntimeDefault,
        },
        configured => configured,
    }
}

/// The CRI's signal for a name or number in Docker's notation.
fn signal_of(text: &str) -> Option<Signal> {
    let name = match text.parse::<i32>() {
        Ok(number @ 1..=LAST_STANDARD) => nix::sys::signal::Signal::try_from(number).ok()?.as_str().to_owned(),
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
    use crate::state::Record;

    fn record(image_user: &str, security: LinuxContainerSecurityContext) -> ContainerRecord {
        let linux = LinuxContainerConfig { security_context: Some(security), ..Default::default() };
        let config = ContainerConfig { linux: Some(linux), ..Default::default() };
        let image_settings = Some(ImageSettings { user: image_user.into(), ..Default::default() });
        ContainerRecord { image_settings, ..ContainerRecord::creating("n".into(), 1, config) }
    }

    #[test]
    fn the_user_is_reported_if_both_numbers_are_known() {
        let id = |value| Some(Int64Value { value });
        let security = |uid, gid, groups: &[i64]| LinuxContainerSecurityContext {
            run_as_user: uid,
            run_as_group: gid,
            supplemental_groups: groups.to_vec(),
            ..Default::default()
        };
        let reported = |record: &ContainerRecord| user(record).and_then(|user| user.linux);
        let known =
            |uid, gid, groups: &[i64]| Some(LinuxContainerUser { uid, gid, supplemental_groups: groups.to_vec() });
        for (image, security, expected) in [
            ("", security(id(1), id(2), &[]), known(1, 2, &[2])),
            ("7:8", security(id(1), id(2), &[3, 2]), known(1, 2, &[2, 3])),
            ("7:8", security(None, None, &[9]), known(7, 8, &[8, 9])),
            ("7:8", security(id(1), None, &[]), None),
            ("7", security(None, None, &[]), None),
            ("", security(None, None, &[]), None),
            ("www-data:8", security(None, None, &[]), None),
            ("7:4294967296", security(None, None, &[]), None),
        ] {
            assert_eq!(reported(&record(image, security.clone())), expected, "{image} {security:?}");
        }
        assert_eq!(user(&ContainerRecord { image_settings: None, ..record("7:8", Default::default()) }), None);
    }

    #[test]
    fn the_stop_signal_is_the_configurations_else_the_images_else_sigterm() {
        let mut container = record("", Default::default());
        let mut effective = |image: Option<&str>, configured: Signal| {
            let settings = |signal: &str| ImageSettings { stop_signal: signal.to_owned(), ..Default::default() };
            container.image_settings = image.map(settings);
            container.config.stop_signal = configured.into();
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
            assert_eq!(effective(Some(image), Signal::RuntimeDefault), expected, "{image}");
            assert_eq!(effective(Some(image), Signal::Sighup), Signal::Sighup);
        }
        assert_eq!(effective(None, Signal::RuntimeDefault), Signal::RuntimeDefault);
    }
}
