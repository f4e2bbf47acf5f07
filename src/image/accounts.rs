//! The users and groups of an image: who a container's process is, where its configuration and the image's `USER` leave
//! that to the image's own `/etc/passwd` and `/etc/group`. The rules are Docker's, which looks at the image alone and
//! not at what is mounted over these files.

use std::sync::Arc;

use crate::docker;
use crate::state::Identity;
use crate::state::id_number;

use super::Images;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// What the two files say, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Accounts {
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

impl Accounts {
    /// Lines that are not as they should be are passed over.
    fn parse(passwd: &str, group: &str) -> Accounts {
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
        Accounts {
            users: passwd.lines().filter_map(|line| user(line.trim())).collect(),
            groups: group.lines().filter_map(|line| group_of(line.trim())).collect(),
        }
    }

    /// Who `user` is: `""` (root), `name`, `uid`, and each of them with `:group` or `:gid`. None where the image does
    /// not know a name, and so Docker would not start the container.
    pub fn identity(&self, user: &str) -> Option<Identity> {
        let (user, group) = user.split_once(':').unwrap_or((user, ""));
        let wanted = if user.is_empty() { Some(0) } else { id_number(user) };
        let known = self.users.iter().find(|known| known.name == user || Some(known.uid) == wanted);
        let uid = known.map(|known| known.uid).or(wanted)?;
        if !group.is_empty() {
            let wanted = id_number(group);
            let known = self.groups.iter().find(|known| known.name == group || Some(known.gid) == wanted);
            let gid = known.map(|known| known.gid).or(wanted)?;
            // A group that is named leaves no room for the user's others.
            return Some(Identity { uid, gid, groups: Vec::new() });
        }
        let belongs = |group: &&Group| known.is_some_and(|user| group.members.contains(&user.name));
        let groups = self.groups.iter().filter(belongs).map(|group| group.gid).collect();
        Some(Identity { uid, gid: known.map_or(0, |known| known.gid), groups })
    }
}

impl Images {
    /// The accounts of an image, read the first time from a container that was made of it. None where they are no plain
    /// files.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn accounts(&self, image_id: &str, container: &str) -> Result<Option<Arc<Accounts>>, docker::Error> {
        if let Some(known) = self.known_accounts(image_id) {
            return Ok(Some(known));
        }
        let (passwd, group) = tokio::try_join!(
            self.engine.read_container_file(container, PASSWD),
            self.engine.read_container_file(container, GROUP),
        )?;
        let (Some(passwd), Some(group)) = (passwd, group) else { return Ok(None) };
        let accounts = Arc::new(Accounts::parse(&String::from_utf8_lossy(&passwd), &String::from_utf8_lossy(&group)));
        self.accounts.write().insert(image_id.to_owned(), Arc::clone(&accounts));
        Ok(Some(accounts))
    }

    /// The accounts of an image that were read before.
    pub fn known_accounts(&self, image_id: &str) -> Option<Arc<Accounts>> {
        self.accounts.read().get(image_id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_who_the_image_says() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:34::/:/bin/sh\nalso-www:x:33:35::/:/bin/sh\n";
        let group = "root:x:0:\nstaff:x:50:www,root\nweb:x:60:www\nothers:x:70:also-www\nbroken:x:y:www\n";
        let accounts = Accounts::parse(passwd, group);
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
            assert_eq!(accounts.identity(user), expected, "{user:?}");
        }
        assert_eq!(Accounts::default().identity(""), is(0, 0, &[]));
    }
}
