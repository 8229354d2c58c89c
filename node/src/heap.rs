//! The allocator, of Rust's code and of the C libraries': jemalloc, for the sake of a process that lives long within budgets.
//!
//! Rows make large blocks that live for seconds and are freed by other threads than those that asked for them. glibc either gives
//! such a block back to the kernel at once, which costs a third of the time of standardising in page faults, or keeps it in the
//! heap of one thread, where it is of no use to another: a process with budgets of 128 MiB was seen with 350 MiB resident.
//! jemalloc (<https://jemalloc.net/jemalloc.3.html>) uses freed pages again, whoever freed them, and gives them back once they have
//! not been needed for a while. How is settled when it is compiled, in `.cargo/config.toml`: two arenas; pages are the kernel's
//! again after five seconds; a thread of its own sees to that in a process that rests. `MALLOC_CONF` in the environment changes it.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static HEAP: Jemalloc = Jemalloc;
