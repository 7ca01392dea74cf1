//! Where the programs of a server are: on the system, or unpacked beside it by `tests/run`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::Missing;

/// A tree with `usr/sbin`, `usr/lib` and so on.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    root: PathBuf,
}

impl Installation {
    /// The tree in which there is `program`, a path without its leading slash: the cache's folder
    /// `name` first, else the system.
    pub(crate) fn find(name: &'static str, program: &str) -> Result<Self, Missing> {
        if env::var_os("POSTHASTE_INTEROP").is_some_and(|value| value == "0") {
            return Err(Missing::new(name, "POSTHASTE_INTEROP=0 says not to"));
        }
        let unpacked = cache().map(|cache| cache.join(name));
        [unpacked, Some(PathBuf::from("/"))]
            .into_iter()
            .flatten()
            .find(|root| root.join(program).is_file())
            .map(|root| Self { root })
            .ok_or_else(|| Missing::new(name, "not on this machine; `tests/run` fetches it"))
    }

    /// A program or folder of this installation.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub(crate) fn is_system(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The folders with shared libraries, such as `usr/lib/x86_64-linux-gnu`; none for the system,
    /// whose linker knows them.
    pub(crate) fn library_folders(&self) -> Vec<PathBuf> {
        if self.is_system() {
            return Vec::new();
        }
        ["lib", "usr/lib"]
            .iter()
            .filter_map(|folder| self.root.join(folder).read_dir().ok())
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect()
    }
}

/// A value for `LD_LIBRARY_PATH` under which the programs of all these run.
pub(crate) fn library_path(installations: &[&Installation]) -> OsString {
    let folders = installations.iter().flat_map(|one| one.library_folders());
    env::join_paths(folders).unwrap()
}

/// Where `tests/run` unpacks servers, as it computes it too.
fn cache() -> Option<PathBuf> {
    if let Some(servers) = env::var_os("POSTHASTE_SERVERS") {
        return Some(PathBuf::from(servers));
    }
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("posthaste/servers"))
}
