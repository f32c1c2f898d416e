//! Passwords: how good one must be, and the slow hash that makes a stolen table useless.
//!
//! argon2id with 19 MiB, two passes, one lane (the figures of OWASP's password storage cheat sheet). At most two hashes run at once, because each
//! takes a core and 19 MiB; a bounded number waits, the rest is sent away. A hash once begun runs to its end and keeps its place until then,
//! even when whoever asked has gone.
//!
//! Never: a password in an error, a log or a `Debug` line; two code paths of different length for known and unknown users.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use hubbub_wire::rest::limits::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zxcvbn::Score;

use crate::port::AccountsError;

/// Memory of one hash in KiB: 19 MiB.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Hashes at the same time in one process.
const RUNNING_MAX: usize = 2;
/// Requests that wait for their turn: with some 25 ms per hash the last one waits 1.6 s. More would only time out later.
const WAITING_MAX: usize = 128;
/// How hard to guess a password has to be: zxcvbn's "safely unguessable", 10^8 guesses and more. Its dictionaries hold the common ones.
const SCORE_MIN: Score = Score::Three;

/// Why a password is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Weakness {
    Short,
    Long,
    Guessable,
}

impl Weakness {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Short => "is too short",
            Self::Long => "is too long",
            Self::Guessable => "is too easy to guess",
        }
    }
}

/// Checks the length, in characters.
pub(crate) fn check_length(password: &str) -> Result<(), Weakness> {
    let chars = u32::try_from(password.chars().count()).unwrap_or(u32::MAX);
    if chars < PASSWORD_CHARS_MIN {
        Err(Weakness::Short)
    } else if chars > PASSWORD_CHARS_MAX {
        Err(Weakness::Long)
    } else {
        Ok(())
    }
}

/// Hashes a few passwords at a time.
#[derive(Clone, Debug)]
pub(crate) struct Hasher {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// What the password of an unknown user is compared with.
    nobody: Arc<str>,
}

/// The right to one hash.
#[derive(Debug)]
pub(crate) struct Turn {
    _admitted: OwnedSemaphorePermit,
    running: Arc<Semaphore>,
}

impl Hasher {
    /// Hashes once, which takes some 25 ms.
    pub(crate) async fn new() -> Result<Self, AccountsError> {
        let nobody = tokio::task::spawn_blocking(|| hash("nobody has this password"))
            .await
            .map_err(unavailable)??;
        Ok(Self {
            admitted: Arc::new(Semaphore::new(RUNNING_MAX + WAITING_MAX)),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            nobody: nobody.into(),
        })
    }

    /// Passwords that are hashed or wait for it now.
    pub(crate) fn admitted(&self) -> usize {
        (RUNNING_MAX + WAITING_MAX).saturating_sub(self.admitted.available_permits())
    }

    /// A place in the queue; `None` when it is full.
    pub(crate) fn turn(&self) -> Option<Turn> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().ok()?;
        Some(Turn {
            _admitted: admitted,
            running: Arc::clone(&self.running),
        })
    }

    /// Whether `password` is the one that `stored` was made of. `None` (nobody there) takes the same time and is false.
    pub(crate) async fn verify(
        &self,
        turn: Turn,
        password: &str,
        stored: Option<&str>,
    ) -> Result<bool, AccountsError> {
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.nobody).to_owned();
        // Longer than any password that was ever taken: wrong, and not worth feeding to the hash.
        let fits = check_length(password) != Err(Weakness::Long);
        let password = if fits { password } else { "" }.to_owned();
        let matches = turn.run(move || matches(&password, &stored)).await??;
        Ok(matches && known && fits)
    }
}

impl Turn {
    /// The hash of a new password, unless it is easy to guess for someone who knows the `personal` words.
    pub(crate) async fn hash_new(
        self,
        password: &str,
        personal: [String; 2],
    ) -> Result<Result<String, Weakness>, AccountsError> {
        let password = password.to_owned();
        let hashed = self.run(move || {
            let known = personal.each_ref().map(String::as_str);
            if zxcvbn::zxcvbn(&password, &known).score() < SCORE_MIN {
                return Ok(Err(Weakness::Guessable));
            }
            hash(&password).map(Ok)
        });
        hashed.await?
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccountsError> {
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(unavailable)?;
        let working = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((running, self));
            result
        });
        working.await.map_err(unavailable)
    }
}

fn argon2id() -> Result<Argon2<'static>, AccountsError> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(unavailable)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, AccountsError> {
    let hash: PasswordHash = argon2id()?
        .hash_password(password.as_bytes())
        .map_err(unavailable)?;
    Ok(hash.to_string())
}

fn matches(password: &str, stored: &str) -> Result<bool, AccountsError> {
    let stored = PasswordHash::new(stored).map_err(unavailable)?;
    match argon2id()?.verify_password(password.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(unavailable(error)),
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> AccountsError {
    AccountsError::Unavailable(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "mild walrus paints 7 fences";

    async fn hash_new(hasher: &Hasher, password: &str) -> Result<String, Weakness> {
        let turn = hasher.turn().expect("there is room");
        turn.hash_new(password, ["ada".to_owned(), "Countess Lovelace".to_owned()])
            .await
            .expect("hashes")
    }

    async fn verify(hasher: &Hasher, password: &str, stored: Option<&str>) -> bool {
        let turn = hasher.turn().expect("there is room");
        hasher.verify(turn, password, stored).await.expect("hashes")
    }

    #[test]
    fn a_password_has_a_least_and_a_greatest_length_in_characters() {
        let of = |chars: u32| "ä".repeat(usize::try_from(chars).expect("small"));
        assert_eq!(
            check_length(&of(PASSWORD_CHARS_MIN - 1)),
            Err(Weakness::Short)
        );
        assert_eq!(check_length(&of(PASSWORD_CHARS_MIN)), Ok(()));
        assert_eq!(check_length(&of(PASSWORD_CHARS_MAX)), Ok(()));
        assert_eq!(
            check_length(&of(PASSWORD_CHARS_MAX + 1)),
            Err(Weakness::Long)
        );
    }

    #[tokio::test]
    async fn a_hash_proves_its_password_and_no_other() {
        let hasher = Hasher::new().await.expect("hashes");
        let stored = hash_new(&hasher, GOOD).await.expect("is good");
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored}"
        );
        assert!(verify(&hasher, GOOD, Some(&stored)).await);
        assert!(!verify(&hasher, "mild walrus paints 8 fences", Some(&stored)).await);
        assert!(!verify(&hasher, "", Some(&stored)).await);
        let again = hash_new(&hasher, GOOD).await.expect("is good");
        assert_ne!(stored, again, "salted");
    }

    #[tokio::test]
    async fn nobody_has_a_password() {
        let hasher = Hasher::new().await.expect("hashes");
        assert!(!verify(&hasher, GOOD, None).await);
        assert!(
            !verify(&hasher, "nobody has this password", None).await,
            "not even the one that is compared with"
        );
    }

    #[tokio::test]
    async fn a_password_that_can_be_guessed_is_not_taken() {
        let hasher = Hasher::new().await.expect("hashes");
        for password in [
            "password1234",
            "aaaaaaaaaaaaaaaa",
            "qwertyuiop123",
            "CountessLovelace",
        ] {
            assert_eq!(
                hash_new(&hasher, password).await,
                Err(Weakness::Guessable),
                "{password}"
            );
        }
    }

    #[tokio::test]
    async fn a_full_queue_sends_away_and_has_room_again() {
        let hasher = Hasher::new().await.expect("hashes");
        let turns: Vec<Turn> = std::iter::from_fn(|| hasher.turn()).collect();
        assert_eq!(turns.len(), RUNNING_MAX + WAITING_MAX);
        drop(turns);
        assert!(hasher.turn().is_some());
    }
}
