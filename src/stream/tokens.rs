//! One-time tokens: a CRI call returns a URL with a token, and the first client that connects there within a minute gets
//! the request's session.

use std::collections::HashMap;
use std::io;
use std::io::Read;
use std::time::Duration;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;

/// How long a client has to connect.
const LIFETIME: Duration = Duration::from_secs(60);
/// Requests that may wait for their clients at a time.
const LIMIT: usize = 1000;
/// The length of a token before its encoding; 128 bits cannot be guessed.
const BYTES: usize = 16;

/// Why no token can be issued.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{LIMIT} requests are waiting for their clients already; try again in a minute")]
    TooMany,
    #[error("could not read random bytes: {0}")]
    Random(#[from] io::Error),
}

/// Requests that wait for their clients.
#[derive(Debug)]
pub(super) struct Tokens<T> {
    waiting: Mutex<HashMap<String, (Instant, T)>>,
}

impl<T> Tokens<T> {
    pub(super) fn new() -> Tokens<T> {
        Tokens { waiting: Mutex::default() }
    }

    /// Keeps a request and returns its token.
    ///
    /// # Errors
    /// [`Error::TooMany`]; [`Error::Random`].
    pub(super) fn put(&self, request: T) -> Result<String, Error> {
        self.put_at(request, Instant::now())
    }

    /// Takes the request of a token; `None` when the token is unknown, used or expired.
    pub(super) fn take(&self, token: &str) -> Option<T> {
        self.take_at(token, Instant::now())
    }

    fn put_at(&self, request: T, now: Instant) -> Result<String, Error> {
        let mut bytes = [0; BYTES];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, (since, _)| now.duration_since(*since) < LIFETIME);
        if waiting.len() >= LIMIT {
            return Err(Error::TooMany);
        }
        waiting.insert(token.clone(), (now, request));
        Ok(token)
    }

    fn take_at(&self, token: &str, now: Instant) -> Option<T> {
        let (since, request) = self.waiting.lock().remove(token)?;
        (now.duration_since(since) < LIFETIME).then_some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_can_be_used_once() {
        let tokens = Tokens::new();
        let (one, other) = (tokens.put(1).unwrap(), tokens.put(2).unwrap());
        assert_ne!(one, other);
        assert_eq!((tokens.take(&one), tokens.take(&one), tokens.take("x")), (Some(1), None, None));
        assert_eq!(tokens.take(&other), Some(2));
    }

    #[test]
    fn an_unused_token_expires_after_a_minute() {
        let tokens = Tokens::new();
        let issued = Instant::now();
        let token = tokens.put_at(1, issued).unwrap();
        assert_eq!(tokens.take_at(&token, issued + LIFETIME), None);
    }

    #[test]
    fn tokens_over_the_limit_are_refused_until_others_expire() {
        let tokens = Tokens::new();
        let issued = Instant::now();
        for number in 0..LIMIT {
            tokens.put_at(number, issued).unwrap();
        }
        assert!(matches!(tokens.put_at(0, issued), Err(Error::TooMany)));
        tokens.put_at(0, issued + LIFETIME).unwrap();
        assert_eq!(tokens.waiting.lock().len(), 1);
    }
}
