//! Keeps glibc's allocator from holding on to memory that the budgets have given back.
//!
//! glibc gives threads heaps of their own (eight for each core), and from the first large block that is freed on it takes
//! larger and larger blocks from those heaps rather than from the kernel. What one thread has freed is then of no use to
//! another, and a process with budgets of 128 MiB was seen with 350 MiB resident. The settings
//! (<https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html>) are read from the environment
//! before `main`, so a process that has not got them starts itself again with them, under the same process id.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Two heaps; blocks from 128 KiB on are the kernel's, and go back to it at once.
const SETTINGS: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// Starts this process again with the settings, unless somebody has set one of them: the operator's word counts. Returns when
/// that is so, or when it cannot be done: then the process only takes more memory.
pub fn keep_small() {
    let is_set = |(name, _): &(&str, &str)| std::env::var_os(name).is_some();
    if !cfg!(target_env = "gnu") || SETTINGS.iter().any(is_set) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).envs(SETTINGS).exec();
    eprintln!("shardmill: the allocator keeps its defaults, more memory will be resident: {error}");
}
