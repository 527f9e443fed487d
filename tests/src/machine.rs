//! A machine of its own for a test: this one's files under an overlay that is thrown away, with process,
//! mount, network and control-group namespaces, and systemd as process 1. Packages can be installed there
//! and units started as on any host.

use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::system::{Folder, write_script};

/// How long it may take to come up.
const BOOT_TIME: Duration = Duration::from_secs(40);

/// What its process 1 runs before systemd.
const BOOT: &str = r#"#!/bin/sh
set -e
disk=$1
mount --make-rprivate /
mount -t tmpfs none "$disk"
mkdir "$disk/upper" "$disk/work" "$disk/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
cd "$disk/root"
# Nothing of this machine's own services
rm -rf etc/systemd/system/*.wants usr/lib/systemd/system/*.target.wants
# What a container's manager would leave out of it
rm -f usr/sbin/policy-rc.d
mount --rbind /dev dev
mount -t sysfs sysfs sys
# Of the control groups it sees its own alone
if grep -q name=systemd /proc/self/cgroup; then
    mount -t tmpfs cgroup sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
else
    mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
mount -t proc proc proc
mount -t tmpfs -o mode=755 none run
mkdir -p run/lock run/systemd/system old
pivot_root . old
umount -l old
rmdir old
cd /
exec env -i container=slotway-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target --log-target=journal --log-level=notice
"#;

/// A running machine; gone when it is dropped.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    /// The process number of its systemd here.
    init: String,
    folder: Folder,
    groups: Vec<String>,
}

impl Machine {
    /// Starts one; `None`, with a line that says why, where this system lets nobody.
    pub fn boot() -> Option<Self> {
        let why = if !rustix::process::geteuid().is_root() {
            "this test needs root"
        } else if !Path::new("/lib/systemd/systemd").exists() {
            "this test needs systemd"
        } else {
            return Self::try_boot();
        };
        println!("skipped: {why}");
        None
    }

    fn try_boot() -> Option<Self> {
        let folder = Folder::new();
        let (disk, script) = (folder.path().join("disk"), folder.path().join("boot"));
        std::fs::create_dir(&disk).expect("a folder of ours");
        write_script(&script, BOOT);
        let groups = own_groups(&folder);
        let mut command = Command::new("sh");
        let mut join = String::new();
        for group in &groups {
            let _ = write!(join, "echo $$ > {group}/cgroup.procs; ");
        }
        let unshare =
            "exec unshare --pid --fork --mount --net --cgroup --uts --ipc --kill-child=KILL";
        let log = std::fs::File::create(folder.path().join("log")).expect("a file of ours");
        command
            .args(["-c", &format!("{join}{unshare} \"$@\""), "boot"])
            .args([&script, &disk])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .process_group(0);
        let child = command.spawn().expect("a shell");
        let mut machine = Self {
            init: String::new(),
            child,
            folder,
            groups,
        };
        if machine.await_boot() {
            return Some(machine);
        }
        println!(
            "skipped: systemd does not come up in a container here:\n{}",
            machine.boot_log()
        );
        None
    }

    fn await_boot(&mut self) -> bool {
        let begun = Instant::now();
        let parent = self.child.id();
        while begun.elapsed() < BOOT_TIME {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return false;
            }
            let children =
                std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
            let children = children.unwrap_or_default();
            let child = children.split_whitespace().next();
            child.unwrap_or_default().clone_into(&mut self.init);
            let is_up = |machine: &Self| {
                let asked = machine.run("systemctl is-active basic.target");
                asked.status.success()
            };
            if !self.init.is_empty() && is_up(self) {
                self.must("systemctl start systemd-journald.socket systemd-journald");
                return true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    }

    /// What systemd has said.
    pub fn boot_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs a shell's command there.
    pub fn run(&self, command: &str) -> Output {
        let init = self.init.as_str();
        Command::new("nsenter")
            .args(["-t", init, "-m", "-p", "-n", "-C", "-u", "-i", "-r", "-w"])
            .args([
                "env",
                "-i",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ])
            .args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", command])
            .stdin(Stdio::null())
            .output()
            .expect("nsenter")
    }

    /// Runs one that must succeed; what it printed.
    pub fn must(&self, command: &str) -> String {
        let output = self.run(command);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "{command}: {}\n{out}\n{err}\n{}",
            output.status,
            text(&self.run("journalctl --no-pager -n 60").stdout)
        );
        out
    }

    /// Waits until a command succeeds.
    pub fn wait_for(&self, command: &str) {
        let begun = Instant::now();
        while !self.run(command).status.success() {
            if begun.elapsed() > crate::system::PATIENCE {
                self.must(command);
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes a file there.
    pub fn write(&self, path: &str, text: &str) {
        let from = self.folder.path().join("file");
        std::fs::write(&from, text).expect("a file of ours");
        // The lower layer of its files is this machine's.
        self.must(&format!("cp {} {path}", from.display()));
    }
}

/// A group of its own in each hierarchy that systemd may use.
fn own_groups(folder: &Folder) -> Vec<String> {
    let name = folder.path().file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    let hierarchies = [
        "/sys/fs/cgroup/systemd",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup",
    ];
    let groups = hierarchies
        .into_iter()
        .filter(|hierarchy| Path::new(hierarchy).join("cgroup.procs").exists());
    let groups = groups.map(|hierarchy| format!("{hierarchy}/{name}"));
    groups
        .filter(|group| std::fs::create_dir(group).is_ok())
        .collect()
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its process 1 all others end. Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for group in &self.groups {
            // From the leaves up; best effort, and empty once all have ended.
            let command = format!("find {group} -depth -type d -exec rmdir {{}} +");
            for _ in 0..20 {
                let removed = Command::new("sh").args(["-c", &command]).output();
                if removed.is_ok_and(|output| output.status.success()) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}
