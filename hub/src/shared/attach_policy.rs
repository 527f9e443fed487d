//! Which users' workers may attach, and what they may register.

use std::os::fd::OwnedFd;

use slotway_shm_proto::credentials::{PeerCredentials, peer_groups};

use crate::config::attach::{AttachPeer, AttachRule};
use crate::routing::registration::RouteSpec;

/// The rules of one hub.
#[derive(Clone, Debug, Default)]
pub struct AttachPolicy(Vec<AttachRule>);

/// What one peer of the attach socket may do.
#[derive(Clone, Debug)]
pub enum Grant {
    /// The hub's own user, or root: everything, commands too.
    Own,
    /// Another user: what any of these rules allows.
    Other(Vec<AttachRule>),
}

impl AttachPolicy {
    /// Of a hub with these rules.
    pub fn new(rules: Vec<AttachRule>) -> Self {
        Self(rules)
    }

    /// What a peer may do; `None`: nothing.
    pub fn grant(&self, socket: &OwnedFd, peer: PeerCredentials) -> Option<Grant> {
        if peer.uid == rustix::process::geteuid().as_raw() || peer.uid == 0 {
            return Some(Grant::Own);
        }
        let has_groups = self
            .0
            .iter()
            .any(|rule| matches!(rule.peer, AttachPeer::Group(_)));
        let groups = if has_groups {
            // Without an answer the peer has its own group alone.
            peer_groups(socket).unwrap_or_default()
        } else {
            Vec::new()
        };
        let of = |is_for: &dyn Fn(&AttachPeer) -> bool| -> Vec<_> {
            let rules = self.0.iter().filter(|rule| is_for(&rule.peer));
            rules.cloned().collect()
        };
        // What is said of a user goes before what is said of all members of a group.
        let mut rules = of(&|rule| matches!(rule, AttachPeer::User(user) if user.uid == peer.uid));
        if rules.is_empty() {
            let is_member = |gid| gid == peer.gid || groups.contains(&gid);
            rules = of(&|rule| matches!(rule, AttachPeer::Group(group) if is_member(group.gid)));
        }
        (!rules.is_empty()).then_some(Grant::Other(rules))
    }
}

impl Grant {
    /// Whether a worker may send events to whoever listens.
    pub fn may_emit(&self) -> bool {
        match self {
            Self::Own => true,
            Self::Other(rules) => rules.iter().any(AttachRule::may_emit),
        }
    }

    /// Whether a worker may be called so and serve these routes; the error says why not.
    pub fn check(&self, name: &str, routes: &[RouteSpec]) -> Result<(), String> {
        let Self::Other(rules) = self else {
            return Ok(());
        };
        let of_name: Vec<_> = rules
            .iter()
            .filter(|rule| rule.names.is_empty() || rule.names.iter().any(|own| own == name))
            .collect();
        if of_name.is_empty() {
            let names = rules.iter().flat_map(|rule| &rule.names);
            let names: Vec<_> = names.map(String::as_str).collect();
            return Err(format!(
                "workers of this user may have the names {} ([[attach]] of the hub's configuration), and this \
                 one is called {name:?}",
                names.join(", ")
            ));
        }
        for route in routes {
            let allows = |rule: &&AttachRule| {
                rule.routes.is_empty() || rule.routes.iter().any(|allowed| allowed.covers(route))
            };
            if !of_name.iter().any(allows) {
                return Err(format!(
                    "workers of this user may not serve {route} ([[attach]] of the hub's configuration says \
                     which routes they may)"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::account::User;
    use crate::routing::area::RouteArea;

    fn routes(paths: &[&str]) -> Vec<RouteSpec> {
        let paths = paths.iter();
        paths.map(|path| RouteSpec::for_tests(path)).collect()
    }

    #[test]
    fn a_worker_may_register_what_one_rule_of_its_user_allows() {
        let rule = |names: &[&str], routes: &[&str]| AttachRule {
            peer: AttachPeer::User(User {
                text: "shop".to_owned(),
                uid: 1001,
            }),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            routes: routes
                .iter()
                .map(|route| RouteArea::parse(route).unwrap())
                .collect(),
            events: false,
        };
        let rules = vec![
            rule(&["shop"], &["/shop", "/shop/{*rest}"]),
            rule(&["tick"], &[]),
        ];
        let grant = Grant::Other(rules);
        let check = |name: &str, paths: &[&str]| grant.check(name, &routes(paths));
        assert_eq!(check("shop", &["/shop", "/shop/items/{id}"]), Ok(()));
        assert_eq!(check("tick", &["/anything"]), Ok(()));
        let refused = check("shop", &["/shop", "/pay"]).unwrap_err();
        assert!(refused.contains("may not serve GET /pay"));
        let refused = check("pay", &["/shop"]).unwrap_err();
        assert!(refused.contains("shop, tick"), "{refused}");
        assert!(!grant.may_emit() && Grant::Own.may_emit());
        assert_eq!(Grant::Own.check("x", &routes(&["/"])), Ok(()));
    }
}
