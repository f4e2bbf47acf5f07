//! Translates a container's mounts and devices into Docker's.

use std::path::Path;
use std::path::PathBuf;

use crate::docker::EngineInfo;
use crate::docker::request;
use crate::docker::request::BindOptions;
use crate::docker::request::DeviceMapping;
use crate::docker::request::DeviceRequest;
use crate::docker::request::HostConfig;
use crate::docker::request::ImageOptions;
use crate::docker::request::MountType;
use crate::docker::request::Propagation;
use crate::error::Error;
use crate::proto::ContainerConfig;
use crate::proto::Mount;
use crate::proto::MountPropagation;

use super::describe;

/// The first API with an option for recursive read-only mounts (Docker 25).
const API_RECURSIVE_READ_ONLY: u16 = 44;
/// The first API with image mounts (Docker 28).
const API_IMAGE: u16 = 48;
/// The first API with CDI devices (Docker 25).
const API_CDI: u16 = 44;

/// Sets the mounts and devices of a container.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Unsupported`] and [`Error::Unimplemented`] name the field.
pub(super) fn apply(config: &ContainerConfig, host: &mut HostConfig, info: &EngineInfo) -> Result<(), Error> {
    let object = describe(config);
    let mut mounts = Vec::new();
    let mut binds = Vec::new();
    for mount in &config.mounts {
        check(&object, mount, info)?;
        if let Some(image) = image_of(mount) {
            mounts.push(image_mount(mount, image));
            continue;
        }
        let source = source(&object, mount)?;
        if mount.selinux_relabel && info.selinux {
            binds.push(relabelled(&object, mount, &source)?);
        } else {
            mounts.push(bind(mount, &source, info));
        }
    }
    host.mounts = (!mounts.is_empty()).then_some(mounts);
    host.binds = (!binds.is_empty()).then_some(binds);
    host.devices = devices(config)?;
    host.device_requests = cdi_devices(&object, config, info)?;
    Ok(())
}

fn check(object: &str, mount: &Mount, info: &EngineInfo) -> Result<(), Error> {
    let invalid =
        |field, reason: &str| Err(Error::invalid(object, field, format!("{}: {reason}", mount.container_path)));
    let unsupported =
        |field, reason: &str| Err(Error::unsupported(object, field, format!("{}: {reason}", mount.container_path)));
    if !mount.container_path.starts_with('/') {
        return invalid("mounts.container_path", "must be an absolute path");
    }
    if image_of(mount).is_some() {
        return match info.has_api(API_IMAGE) {
            true if mount.host_path.is_empty() => Ok(()),
            true => invalid("mounts.host_path", "must be empty beside mounts.image"),
            false => {
                let reason = format!("{}: needs Docker 28; this is {}", mount.container_path, info.version);
                Err(Error::Unimplemented { object: object.to_owned(), field: "mounts.image", reason })
            }
        };
    }
    if !mount.host_path.starts_with('/') {
        return invalid("mounts.host_path", "must be an absolute path");
    }
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return unsupported("mounts.uidMappings", "Docker cannot map the owners of a mount");
    }
    if !mount.mount_options.is_empty() {
        return unsupported("mounts.mount_options", "Docker takes no options for a bind mount");
    }
    if !mount.recursive_read_only {
        return Ok(());
    }
    if !mount.readonly {
        return invalid("mounts.recursive_read_only", "needs readonly");
    }
    if mount.propagation() != MountPropagation::PropagationPrivate {
        return invalid("mounts.recursive_read_only", "needs private propagation");
    }
    if !has_recursive_read_only(info) {
        return unsupported("mounts.recursive_read_only", "needs Docker 25 and Linux 5.12");
    }
    Ok(())
}

/// Whether this Docker can make a mount read-only together with all mounts below it.
pub(crate) fn has_recursive_read_only(info: &EngineInfo) -> bool {
    info.has_api(API_RECURSIVE_READ_ONLY) && kernel_at_least(&info.kernel, 5, 12)
}

fn kernel_at_least(release: &str, major: u32, minor: u32) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// The host path with symbolic links resolved. A missing one is made as a directory, which hostPath volumes without a
/// type rely on.
fn source(object: &str, mount: &Mount) -> Result<PathBuf, Error> {
    let path = Path::new(&mount.host_path);
    let failed = |doing: &str, source: std::io::Error| {
        Error::invalid(object, "mounts.host_path", format!("could not {doing} {}: {source}", path.display()))
    };
    if !path.exists() {
        std::fs::create_dir_all(path).map_err(|source| failed("make", source))?;
    }
    path.canonicalize().map_err(|source| failed("resolve", source))
}

/// The image to mount, for an image volume.
pub(super) fn image_of(mount: &Mount) -> Option<&str> {
    mount.image.as_ref().map(|image| image.image.as_str()).filter(|image| !image.is_empty())
}

/// An image volume. Docker mounts images read-only, as the CRI requires.
fn image_mount(mount: &Mount, image: &str) -> request::Mount {
    let subpath = Some(mount.image_sub_path.clone()).filter(|path| !path.is_empty());
    request::Mount {
        kind: MountType::Image,
        source: image.to_owned(),
        target: mount.container_path.clone(),
        read_only: true,
        bind_options: None,
        image_options: subpath.map(|subpath| ImageOptions { subpath }),
    }
}

fn bind(mount: &Mount, source: &Path, info: &EngineInfo) -> request::Mount {
    let sets_recursion = mount.readonly && info.has_api(API_RECURSIVE_READ_ONLY);
    request::Mount {
        kind: MountType::Bind,
        source: source.display().to_string(),
        target: mount.container_path.clone(),
        read_only: mount.readonly,
        bind_options: Some(BindOptions {
            propagation: propagation(mount),
            read_only_non_recursive: (sets_recursion && !mount.recursive_read_only).then_some(true),
            read_only_force_recursive: (sets_recursion && mount.recursive_read_only).then_some(true),
        }),
        image_options: None,
    }
}

/// Docker's option for the mount propagation. Private is left out where possible, as it is the default and Docker refuses
/// it for a path that contains its own directory, such as `/`; a recursively read-only mount has to name it.
fn propagation(mount: &Mount) -> Option<Propagation> {
    match mount.propagation() {
        MountPropagation::PropagationPrivate if mount.recursive_read_only => Some(Propagation::Rprivate),
        MountPropagation::PropagationPrivate => None,
        MountPropagation::PropagationHostToContainer => Some(Propagation::Rslave),
        MountPropagation::PropagationBidirectional => Some(Propagation::Rshared),
    }
}

/// A bind mount in Docker's older notation, the only one with an option for SELinux relabelling.
fn relabelled(object: &str, mount: &Mount, source: &Path) -> Result<String, Error> {
    let source = source.display().to_string();
    if source.contains(':') || mount.container_path.contains(':') {
        return Err(Error::unsupported(
            object,
            "mounts.selinux_relabel",
            format!("{source}: a path with a colon cannot be relabelled"),
        ));
    }
    if mount.recursive_read_only {
        return Err(Error::unsupported(
            object,
            "mounts.selinux_relabel",
            format!("{source}: cannot go with recursive_read_only"),
        ));
    }
    let mode = if mount.readonly { "ro" } else { "rw" };
    let propagation = propagation(mount).map(|propagation| format!(",{}", propagation.as_str())).unwrap_or_default();
    Ok(format!("{source}:{}:{mode},z{propagation}", mount.container_path))
}

fn devices(config: &ContainerConfig) -> Result<Option<Vec<DeviceMapping>>, Error> {
    let object = describe(config);
    let mut all = Vec::new();
    for device in &config.devices {
        if device.permissions.is_empty() || !device.permissions.chars().all(|c| "rwm".contains(c)) {
            let reason = format!("{}: {:?} must be made of r, w and m", device.host_path, device.permissions);
            return Err(Error::invalid(&object, "devices.permissions", reason));
        }
        if !Path::new(&device.host_path).exists() {
            return Err(Error::invalid(&object, "devices.host_path", format!("{} does not exist", device.host_path)));
        }
        let inside = if device.container_path.is_empty() { &device.host_path } else { &device.container_path };
        all.push(DeviceMapping {
            path_on_host: device.host_path.clone(),
            path_in_container: inside.clone(),
            cgroup_permissions: device.permissions.clone(),
        });
    }
    Ok((!all.is_empty()).then_some(all))
}

fn cdi_devices(object: &str, config: &ContainerConfig, info: &EngineInfo) -> Result<Option<Vec<DeviceRequest>>, Error> {
    if config.cdi_devices.is_empty() {
        return Ok(None);
    }
    if !info.has_api(API_CDI) {
        let reason = format!("{}: needs Docker 25; this is {}", config.cdi_devices[0].name, info.version);
        return Err(Error::unsupported(object, "CDI_devices", reason));
    }
    Ok(Some(vec![DeviceRequest {
        driver: "cdi".to_owned(),
        device_ids: config.cdi_devices.iter().map(|device| device.name.clone()).collect(),
    }]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::testing::engine_info;
    use crate::proto::CdiDevice;
    use crate::proto::Device;
    use crate::proto::ImageSpec;

    fn mounted(mount: Mount, info: &EngineInfo) -> Result<HostConfig, Error> {
        let config = ContainerConfig { mounts: vec![mount], ..Default::default() };
        let mut host = HostConfig::default();
        apply(&config, &mut host, info).map(|()| host)
    }

    fn mount(path: &Path) -> Mount {
        Mount { host_path: path.display().to_string(), container_path: "/data".into(), ..Default::default() }
    }

    fn options(host: HostConfig) -> BindOptions {
        host.mounts.unwrap().remove(0).bind_options.unwrap()
    }

    #[test]
    fn a_missing_host_path_is_made_and_a_symbolic_link_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().canonicalize().unwrap().join("target");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        std::fs::create_dir(&target).unwrap();
        let host = mounted(mount(&link), &engine_info(41)).unwrap();
        assert_eq!(host.mounts.unwrap()[0].source, target.to_str().unwrap());
        mounted(mount(&dir.path().join("new/dir")), &engine_info(41)).unwrap();
        assert!(dir.path().join("new/dir").is_dir());
    }

    #[test]
    fn docker_29_is_asked_for_a_non_recursive_read_only_mount() {
        let dir = tempfile::tempdir().unwrap();
        let read_only = Mount { readonly: true, ..mount(dir.path()) };
        assert_eq!(options(mounted(read_only.clone(), &engine_info(52)).unwrap()).read_only_non_recursive, Some(true));
        assert_eq!(options(mounted(read_only, &engine_info(41)).unwrap()).read_only_non_recursive, None);
    }

    #[test]
    fn recursive_read_only_needs_an_engine_that_can_and_a_mount_that_allows_it() {
        let dir = tempfile::tempdir().unwrap();
        let recursive = Mount { readonly: true, recursive_read_only: true, ..mount(dir.path()) };
        assert_eq!(
            options(mounted(recursive.clone(), &engine_info(52)).unwrap()).read_only_force_recursive,
            Some(true)
        );
        assert!(mounted(recursive.clone(), &engine_info(41)).is_err());
        let shared = Mount { propagation: MountPropagation::PropagationBidirectional.into(), ..recursive.clone() };
        assert!(mounted(shared, &engine_info(52)).is_err());
        assert!(mounted(Mount { readonly: false, ..recursive }, &engine_info(52)).is_err());
    }

    #[test]
    fn an_image_is_mounted_read_only_where_docker_can() {
        let image = ImageSpec { image: "sha256:1".into(), ..Default::default() };
        let mount = Mount {
            image: Some(image),
            image_sub_path: "etc".into(),
            container_path: "/data".into(),
            ..Default::default()
        };
        let mounted_image = mounted(mount.clone(), &engine_info(48)).unwrap().mounts.unwrap().remove(0);
        assert_eq!(mounted_image.kind, MountType::Image);
        assert_eq!((mounted_image.source.as_str(), mounted_image.read_only), ("sha256:1", true));
        assert_eq!(mounted_image.image_options.unwrap().subpath, "etc");
        let both = Mount { host_path: "/tmp".into(), ..mount.clone() };
        assert!(mounted(both, &engine_info(48)).unwrap_err().to_string().contains("mounts.host_path"));
        assert!(mounted(mount, &engine_info(47)).unwrap_err().to_string().contains("needs Docker 28"));
    }

    #[test]
    fn mounts_that_docker_cannot_make_are_refused_by_their_field() {
        let dir = tempfile::tempdir().unwrap();
        let noexec = Mount { mount_options: vec!["noexec".into()], ..mount(dir.path()) };
        assert!(mounted(noexec, &engine_info(52)).unwrap_err().to_string().contains("mounts.mount_options"));
        let relative = Mount { host_path: "data".into(), ..mount(dir.path()) };
        assert!(mounted(relative, &engine_info(52)).unwrap_err().to_string().contains("mounts.host_path"));
    }

    #[test]
    fn devices_are_passed_on_and_checked() {
        let device = |permissions: &str| ContainerConfig {
            devices: vec![Device {
                host_path: "/dev/null".into(),
                permissions: permissions.into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let passed = devices(&device("rw")).unwrap().unwrap();
        assert_eq!(passed[0].path_in_container, "/dev/null");
        assert!(devices(&device("rwx")).is_err());
        let cdi = ContainerConfig {
            cdi_devices: vec![CdiDevice { name: "vendor.example/a=b".into() }],
            ..Default::default()
        };
        assert!(cdi_devices("c", &cdi, &engine_info(41)).is_err());
        assert_eq!(cdi_devices("c", &cdi, &engine_info(52)).unwrap().unwrap()[0].driver, "cdi");
    }

    #[test]
    fn kernel_releases_compare_by_number() {
        assert!(kernel_at_least("6.1.0-13-amd64", 5, 12));
        assert!(kernel_at_least("5.12", 5, 12));
        assert!(!kernel_at_least("5.4.0", 5, 12));
    }
}
