//! The processor time of another process, to the nanosecond: for `bench`, which measures brokers that it did not write.
#![expect(unsafe_code, reason = "clock_getcpuclockid(3) and clock_gettime(2) write through a pointer")]

use std::io;
use std::time::Duration;

/// Processor time of all threads of a process so far, those that have ended and the kernel's workers for its rings
/// included (clock_getcpuclockid(3)).
///
/// # Errors
/// ESRCH where there is no such process.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let id = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: the call writes to the one variable that it is given; it answers an error number.
    let error = unsafe { libc::clock_getcpuclockid(id, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: the call writes to the one variable that it is given.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0)))
}
