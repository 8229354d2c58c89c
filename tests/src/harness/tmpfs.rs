//! A small disk that can be filled: a tmpfs, mounted for one proof.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs; unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts one of `mib` MiB at `path`, which is created.
    pub fn mount(path: &Path, mib: u64) -> Result<Tmpfs, String> {
        std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let options = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        let advice =
            "this proof fills a small disk of its own and must be allowed to mount a tmpfs: run it as root";
        let mounted = mounted.map_err(|error| format!("{advice} (mount: {error})"))?;
        if !mounted.status.success() {
            return Err(format!("{advice} ({})", String::from_utf8_lossy(&mounted.stderr).trim()));
        }
        Ok(Tmpfs { path: path.to_owned() })
    }

    /// Writes a file that takes `bytes`, or all that is left; what it takes.
    pub fn ballast(&self, name: &str, bytes: u64) -> Result<u64, String> {
        use std::io::Write;
        let path = self.path.join(name);
        let mut file =
            std::fs::File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let block = [0x5a; 64 << 10];
        let mut written = 0;
        while written < bytes {
            match file.write(&block) {
                Ok(some) if some > 0 => written += some as u64,
                _ => break,
            }
        }
        Ok(written)
    }

    /// Removes such a file.
    pub fn drop_ballast(&self, name: &str) -> Result<(), String> {
        let path = self.path.join(name);
        std::fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmount = |flags: &[&str]| {
            let done = Command::new("umount").args(flags).arg(&self.path).output();
            done.is_ok_and(|output| output.status.success())
        };
        // A process that was killed a moment ago may still hold it: then it goes as soon as that is gone.
        if !unmount(&[]) && !unmount(&["--lazy"]) {
            eprintln!("  {} could not be unmounted: run `umount {0}`", self.path.display());
        }
    }
}
