//! Whom to ask next.
//!
//! Owns the masters that were named, and the leader that was found last.

use std::collections::VecDeque;

use marmoset_http::Endpoint;

use crate::error::SessionError;

/// The masters of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Masters {
    named: Vec<Endpoint>,
    leader: Option<Endpoint>,
}

impl Masters {
    /// Reads the addresses; `https://` in front of one switches TLS on for it, as `tls` does for all.
    pub(super) fn new(masters: &[String], tls: bool) -> Result<Self, SessionError> {
        let read = |text: &String| {
            if tls && !text.contains("://") { Endpoint::tls(text) } else { Endpoint::parse(text) }
        };
        let named = masters.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if named.is_empty() {
            Err(SessionError::NoMasters)
        } else {
            Ok(Self { named, leader: None })
        }
    }

    /// All of them, the last leader first.
    pub(super) fn round(&self) -> VecDeque<Endpoint> {
        let others = self.named.iter().filter(|one| Some(*one) != self.leader.as_ref());
        self.leader.iter().chain(others).cloned().collect()
    }

    /// Remembers who leads.
    pub(super) fn found(&mut self, leader: Endpoint) {
        self.leader = Some(leader);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(masters: &Masters) -> Vec<String> {
        masters.round().iter().map(Endpoint::to_string).collect()
    }

    #[test]
    fn the_leader_is_asked_first_and_once() {
        let mut masters = Masters::new(&["a:1".to_owned(), "b:2".to_owned()], false).unwrap();
        assert_eq!(round(&masters), ["a:1", "b:2"]);
        masters.found(Endpoint::tcp("b:2").unwrap());
        assert_eq!(round(&masters), ["b:2", "a:1"]);
        masters.found(Endpoint::tcp("c:3").unwrap());
        assert_eq!(round(&masters), ["c:3", "a:1", "b:2"]);
    }

    #[test]
    fn addresses_are_checked() {
        assert!(matches!(Masters::new(&[], false), Err(SessionError::NoMasters)));
        let error = Masters::new(&["nowhere".to_owned()], false).unwrap_err();
        assert!(matches!(error, SessionError::Address(_)), "{error:?}");
    }
}
