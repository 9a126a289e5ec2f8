//! Measures from the first record until the last output is acknowledged and its offset is committed.

use std::error::Error;
use std::fs;
use std::time::Instant;

pub struct Stopwatch {
    events: u64,
    done: u64,
    began: Option<(Instant, f64)>,
    /// Seconds and CPU seconds.
    result: Option<(f64, f64)>,
}

impl Stopwatch {
    pub fn new(events: u64) -> Self {
        Self { events, done: 0, began: None, result: None }
    }

    /// Start the watch when records have been received. Later calls have no effect.
    pub fn first(&mut self) {
        if self.began.is_none() {
            self.began = Some((Instant::now(), process_cpu_s()));
        }
    }

    /// Record that further events are committed.
    pub fn committed(&mut self, count: u64) {
        self.done += count;
        if let (true, None, Some((began, cpu_s))) = (self.done >= self.events, self.result, self.began) {
            self.result = Some((began.elapsed().as_secs_f64(), process_cpu_s() - cpu_s));
        }
    }

    pub fn running(&self) -> bool {
        self.result.is_none()
    }

    /// Print the measurements as one line of JSON.
    pub fn print_result(&self) -> Result<(), Box<dyn Error>> {
        let (seconds, cpu_s) = self.result.ok_or("the run has not ended")?;
        println!(
            "{{\"events\":{},\"seconds\":{seconds:.6},\"cpu_s\":{cpu_s:.6},\"peak_rss_mib\":{:.1}}}",
            self.done,
            peak_rss_mib()?
        );
        Ok(())
    }
}

/// The CPU time of all threads of this process, librdkafka's included.
fn process_cpu_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn peak_rss_mib() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).ok_or("no VmHWM")?;
    let kib: String = line.chars().filter(char::is_ascii_digit).collect();
    Ok(kib.parse::<f64>()? / 1024.0)
}
