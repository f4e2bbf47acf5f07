//! The users and groups of an image, from its `/etc/passwd` and `/etc/group`: they decide a container's user where its
//! configuration and the image's `USER` give a name. The rules are Docker's, which reads the image's own files, not
//! what is mounted over them.

use std::sync::Arc;

use crate::docker;
use crate::state::Identity;
use crate::state::id_number;

use super::Images;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// The users and groups of an image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Users {
    users: Vec<User>,
    groups: Vec<Group>,
}

#[derive(Debug, PartialEq, Eq)]
struct User {
    name: String,
    uid: i64,
    gid: i64,
}

#[derive(Debug, PartialEq, Eq)]
struct Group {
    name: String,
    gid: i64,
    members: Vec<String>,
}

impl Users {
    /// Malformed lines are skipped.
    fn parse(passwd: &str, group: &str) -> Users {
        let user = |line: &str| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?.to_owned(), fields.next()?);
            Some(User { name, uid: id_number(fields.next()?)?, gid: id_number(fields.next()?)? })
        };
        let group_of = |line: &str| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?.to_owned(), fields.next()?);
            let gid = id_number(fields.next()?)?;
            let members = fields.next().unwrap_or_default().split(',').filter(|member| !member.is_empty());
            Some(Group { name, gid, members: members.map(str::to_owned).collect() })
        };
        Users {
            users: passwd.lines().filter_map(|line| user(line.trim())).collect(),
            groups: group.lines().filter_map(|line| group_of(line.trim())).collect(),
        }
    }

    /// The ids of `user`: `""` (root), `name` or `uid`, each of them with `:group`, `:gid` or neither. `None` for a name that
    /// the image does not have: Docker does not start such a container.
    pub(crate) fn identity(&self, user: &str) -> Option<Identity> {
        let (user, group) = user.split_once(':').unwrap_or((user, ""));
        let uid = if user.is_empty() { Some(0) } else { id_number(user) };
        let known = self.users.iter().find(|known| known.name == user || Some(known.uid) == uid);
        let uid = known.map(|known| known.uid).or(uid)?;
        if !group.is_empty() {
            let gid = id_number(group);
            let known = self.groups.iter().find(|known| known.name == group || Some(known.gid) == gid);
            let gid = known.map(|known| known.gid).or(gid)?;
            // With an explicit group, the user's supplementary groups do not apply.
            return Some(Identity { uid, gid, groups: Vec::new() });
        }
        let belongs = |group: &&Group| known.is_some_and(|user| group.members.contains(&user.name));
        let groups = self.groups.iter().filter(belongs).map(|group| group.gid).collect();
        Some(Identity { uid, gid: known.map_or(0, |known| known.gid), groups })
    }
}

impl Images {
    /// The users of an image. The first call reads them from `container`, which was created from the image; later calls
    /// answer from a cache. `None` when the files are missing or not regular files.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub(crate) async fn users(&self, image_id: &str, container: &str) -> Result<Option<Arc<Users>>, docker::Error> {
        if let Some(known) = self.cached_users(image_id) {
            return Ok(Some(known));
        }
        let (passwd, group) = tokio::try_join!(
            self.engine.read_container_file(container, PASSWD),
            self.engine.read_container_file(container, GROUP),
        )?;
        let (Some(passwd), Some(group)) = (passwd, group) else { return Ok(None) };
        let users = Arc::new(Users::parse(&String::from_utf8_lossy(&passwd), &String::from_utf8_lossy(&group)));
        self.users.write().insert(image_id.to_owned(), Arc::clone(&users));
        Ok(Some(users))
    }

    /// The users of an image, if they were read before.
    pub(crate) fn cached_users(&self, image_id: &str) -> Option<Arc<Users>> {
        self.users.read().get(image_id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_ids_of_the_images_passwd_and_group() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:34::/:/bin/sh\nalso-www:x:33:35::/:/bin/sh\n";
        let group = "root:x:0:\nstaff:x:50:www,root\nweb:x:60:www\nothers:x:70:also-www\nbroken:x:y:www\n";
        let users = Users::parse(passwd, group);
        let is = |uid, gid, groups: &[i64]| Some(Identity { uid, gid, groups: groups.to_vec() });
        for (user, expected) in [
            ("", is(0, 0, &[50])),
            ("root", is(0, 0, &[50])),
            ("www", is(33, 34, &[50, 60])),
            ("33", is(33, 34, &[50, 60])),
            ("also-www", is(33, 35, &[70])),
            ("1000", is(1000, 0, &[])),
            ("www:staff", is(33, 50, &[])),
            ("www:1234", is(33, 1234, &[])),
            ("1000:web", is(1000, 60, &[])),
            (":60", is(0, 60, &[])),
            ("nobody", None),
            ("www:nobody", None),
            ("-1", None),
        ] {
            assert_eq!(users.identity(user), expected, "{user:?}");
        }
        assert_eq!(Users::default().identity(""), is(0, 0, &[]));
    }
}
