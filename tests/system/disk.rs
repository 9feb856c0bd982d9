//! A disk that is full: the run goes on without the checkpoint, says so, and leaves nothing half-written.

use std::path::PathBuf;
use std::process::Command;

use stateset_telemetry::Event;

use crate::lab::{Lab, assert_undisturbed, checkpoints, events, expect, stderr};

/// A disk of its own, as large as it is told to be.
struct Disk(PathBuf);

impl Disk {
    /// `None` where disks cannot be made.
    fn at(path: PathBuf, megabytes: u32) -> Option<Self> {
        let disk = Self(path);
        disk.mount(&format!("size={megabytes}m")).then_some(disk)
    }

    fn grow(&self, megabytes: u32) {
        assert!(self.mount(&format!("remount,size={megabytes}m")));
    }

    fn mount(&self, options: &str) -> bool {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.0).output();
        mount.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What stays mounted is gone with the machine.
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_told_and_the_run_goes_on_once_there_is_room() {
    let lab = Lab::new();
    // Room for one checkpoint, and not for two.
    let Some(disk) = Disk::at(lab.runs().to_owned(), 16) else {
        eprintln!("skipped: mounting a small disk takes root");
        return;
    };
    let told = stderr(&expect(1, &mut lab.train()));
    assert!(told.contains("the final state is not on disk") && told.contains("No space left on device"), "{told}");
    let failed = |event: &Event| match event {
        Event::CheckpointFailed { step, cause } => {
            assert!(cause.contains("No space left on device"), "{cause}");
            Some(*step)
        }
        _ => None,
    };
    let failed: Vec<u64> = events(&lab.run()).iter().filter_map(|timed| failed(&timed.event)).collect();
    assert_eq!(failed, [4, 6, 6], "the last one is tried once more at the end");
    assert_eq!(checkpoints(&lab.run()), ["step-000002"]);

    disk.grow(64);
    expect(0, &mut lab.resume());
    assert_undisturbed(&lab.run());
}
