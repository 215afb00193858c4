//! What the C library's allocator is told: the program's pieces of memory are few and large, and its threads come and go.

/// Sets how many heaps threads share. Must be called before the first thread is started.
///
/// The C library makes up to eight heaps a core, so that threads that allocate all the time do not meet. Here they
/// allocate a few times a batch, and each heap keeps what its threads left: one a core, two at least, are as fast and
/// smaller (`docs/notes/performance.md`). A number in `MALLOC_ARENA_MAX` has its way.
pub(super) fn few_heaps() {
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        library::few_heaps(cores.clamp(2, 64) as std::ffi::c_int);
    }
}

/// Gives what the allocator holds free back to the system: between two graphs, whose threads leave much. Takes about a
/// millisecond.
pub(super) fn give_back() {
    library::give_back();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "functions of the C library that take numbers and may be called at any time")]
mod library {
    use std::ffi::c_int;

    /// `M_ARENA_MAX` of glibc's malloc.h.
    const ARENA_MAX: c_int = -8;

    unsafe extern "C" {
        /// malloc_trim(3): releases free pages of all heaps, but `pad` bytes at the top of the main one.
        safe fn malloc_trim(pad: usize) -> c_int;
        /// mallopt(3).
        safe fn mallopt(param: c_int, value: c_int) -> c_int;
    }

    pub(super) fn give_back() {
        malloc_trim(0);
    }

    pub(super) fn few_heaps(n: c_int) {
        mallopt(ARENA_MAX, n);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod library {
    pub(super) fn give_back() {}

    pub(super) fn few_heaps(_n: std::ffi::c_int) {}
}
