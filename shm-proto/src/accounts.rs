//! Numbers of this host's users and groups by their names.

use std::io;

/// The number of a user; `None`: there is none of this name.
pub fn uid_of(name: &str) -> io::Result<Option<u32>> {
    find(name, "/etc/passwd", |name| {
        let user = nix::unistd::User::from_name(name)?;
        Ok(user.map(|user| user.uid.as_raw()))
    })
}

/// The number of a group; `None`: there is none of this name.
pub fn gid_of(name: &str) -> io::Result<Option<u32>> {
    find(name, "/etc/group", |name| {
        let group = nix::unistd::Group::from_name(name)?;
        Ok(group.map(|group| group.gid.as_raw()))
    })
}

/// By the C library, which knows directories beside the files. Linked into a static program it would
/// load modules of another one for that, and crash: there the file is all that is asked.
fn find(
    name: &str,
    file: &str,
    ask: impl FnOnce(&str) -> nix::Result<Option<u32>>,
) -> io::Result<Option<u32>> {
    if cfg!(target_feature = "crt-static") {
        Ok(find_in(&std::fs::read_to_string(file)?, name))
    } else {
        Ok(ask(name)?)
    }
}

/// In lines of `name:password:number:…` (passwd(5), group(5)).
fn find_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        fields.nth(1).filter(|_| is_it)?.parse().ok()
    })
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_who_does_not_exist_is_not() {
        assert_eq!(
            (uid_of("root").unwrap(), gid_of("root").unwrap()),
            (Some(0), Some(0))
        );
        assert_eq!(uid_of("no-such-user").unwrap(), None);
        assert_eq!(gid_of("no-such-group").unwrap(), None);
    }

    #[test]
    fn a_file_says_the_same() {
        let text = "root:x:0:0:root:/root:/bin/bash\nshop:x:1001:1001::/:/bin/false\n";
        assert_eq!(find_in(text, "shop"), Some(1001));
        assert_eq!(
            (find_in(text, "sho"), find_in("", "x"), find_in("x:y", "x")),
            (None, None, None)
        );
    }
}
