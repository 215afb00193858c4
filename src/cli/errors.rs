//! Errors that commands have in common. A command prints its own with all causes, once: [`failed`].

use super::{Exit, say_line};
use crate::error::{Cause, chain};
use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

/// A file or a folder that cannot be used.
#[derive(Debug)]
pub(super) struct PathError {
    path: PathBuf,
    cause: Cause,
}

impl PathError {
    /// Of this path.
    pub(super) fn at<E: Into<Cause>>(path: &Path) -> impl Fn(E) -> PathError {
        move |cause| PathError { path: path.to_owned(), cause: cause.into() }
    }
}

impl Display for PathError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Error for PathError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

/// Mistakes of a configuration, which have been printed, as text.
#[derive(Debug)]
pub(super) struct PrintedMistakes(pub(super) String);

impl Display for PrintedMistakes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for PrintedMistakes {}

/// Says why a command could not do what it was asked.
pub(super) fn failed(error: &dyn Error) -> Exit {
    say_line!("error: {}", chain(error));
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_said_with_what_is_wrong_with_it_and_the_cause_is_kept() {
        let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = PathError::at(Path::new("/a/b"))(io);
        assert_eq!(chain(&error), "/a/b: permission denied");
        assert!(error.source().is_some_and(|source| source.is::<std::io::Error>()));
    }
}
