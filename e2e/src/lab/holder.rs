//! The holder: a process that makes the lab's network and mount namespace and
//! then only keeps them. When it and the components are gone, the kernel takes
//! down every mount, interface and address with them.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{pause, setsid};

use super::command::{create_dir, read, remove_dir, run, write};
use super::paths::{INSIDE, Paths};
use super::process::{Process, spawn_self};
use super::progress::wait_for;
use super::{cgroup, kubernetes};

/// The network namespace of another organisation.
pub const PARTNER: &str = "partner";
/// Its address, of those that are for documentation (RFC 5737).
const PARTNER_IP: &str = "203.0.113.7";
const PARTNER_ROUTER: &str = "203.0.113.1";

/// The file that says that the namespaces are ready.
const READY: &str = "holder.ready";

/// Starts the holder and waits until the namespaces are ready.
pub fn start(paths: &Paths) -> Result<Process> {
    create_dir(&paths.state)?;
    // Keys and passwords lie in it.
    fs::set_permissions(&paths.state, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("failed to close {} to others", paths.state.display()))?;
    let ready = paths.state.join(READY);
    if ready.exists() {
        fs::remove_file(&ready).with_context(|| format!("failed to remove {}", ready.display()))?;
    }
    let log = paths.log("holder");
    let holder = spawn_self(&["hold".to_owned()], &log)?;
    wait_for("the lab's namespaces", Duration::from_secs(20), || {
        if !holder.is_alive() {
            let text = read(&log).unwrap_or_default();
            bail!("the lab's namespaces could not be made:\n{text}");
        }
        Ok(ready.exists())
    })?;
    Ok(holder)
}

/// What the holder does: never returns while all is well.
pub fn hold(paths: &Paths) -> Result<()> {
    setsid().context("failed to start a session")?;
    cgroup::join(paths)?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("failed to make the lab's namespaces")?;
    make_mounts(paths)?;
    make_network()?;
    write(&paths.state.join(READY), "")?;
    loop {
        pause();
    }
}

/// Gives the lab places of its own for all that its programs keep outside the
/// state directory.
fn make_mounts(paths: &Paths) -> Result<()> {
    propagate(MsFlags::MS_PRIVATE)?;
    tmpfs(Path::new("/run"))?;
    create_dir(Path::new(INSIDE))?;
    bind(&paths.state, Path::new(INSIDE))?;
    // The kubelet links every container's log here, whatever it is told.
    tmpfs(Path::new("/var/log"))?;
    // The CNI plugins' results, and the kubelet's socket for device plugins, which
    // no option moves. These two directories are all that a lab leaves, empty:
    // to remove them would unmount those of another checkout's lab.
    for place in ["/var/lib/cni", "/var/lib/kubelet"] {
        create_dir(Path::new(place))?;
        tmpfs(Path::new(place))?;
    }
    replace_file(paths, "/etc/hosts", kubernetes::HOSTS)?;
    replace_file(paths, "/etc/resolv.conf", kubernetes::RESOLV_CONF)?;
    // The kubelet's mounts must reach containerd's containers.
    propagate(MsFlags::MS_SHARED)
}

fn propagate(how: MsFlags) -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | how, None::<&str>)
        .context("failed to change the propagation of mounts")
}

fn tmpfs(path: &Path) -> Result<()> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .with_context(|| format!("failed to mount {}", path.display()))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("failed to mount {} on {}", from.display(), to.display()))
}

/// Puts a file of the lab in the place of one of the machine's.
fn replace_file(paths: &Paths, place: &str, content: &str) -> Result<()> {
    let place = Path::new(place);
    let name = place.file_name().ok_or_else(|| anyhow!("{} names no file", place.display()))?;
    let ours = paths.state.join(name);
    write(&ours, content)?;
    if !place.exists() {
        // A link into /run, whose target the new /run has hidden.
        let target = fs::read_link(place).map(|link| Path::new("/etc").join(link)).unwrap_or_else(|_| place.to_owned());
        write(&target, "")?;
    }
    bind(&ours, place)
}

/// A bridge that carries the node's address, a veth pair so that the bridge
/// has a carrier, and a default route that leads nowhere: an address outside
/// the lab is "unreachable" to those who dial it.
fn make_network() -> Result<()> {
    let address = format!("{}/24", kubernetes::NODE_IP);
    let steps: &[&[&str]] = &[
        &["link", "set", "lo", "up"],
        &["link", "add", "node0", "type", "bridge"],
        &["link", "add", "carrier0", "type", "veth", "peer", "name", "carrier1"],
        &["link", "set", "carrier0", "master", "node0"],
        &["link", "set", "carrier0", "up"],
        &["link", "set", "carrier1", "up"],
        &["addr", "add", &address, "dev", "node0"],
        &["link", "set", "node0", "up"],
        &["route", "add", "default", "dev", "node0"],
    ];
    ip(steps)?;
    let forward = "/proc/sys/net/ipv4/ip_forward";
    fs::write(forward, "1").with_context(|| format!("failed to write {forward}"))?;
    make_partner()
}

/// A network namespace for those who belong to another organisation: the node
/// is their router, and an address of their own is what others see of them.
/// `ip netns exec partner COMMAND` is there.
fn make_partner() -> Result<()> {
    let router = format!("{PARTNER_ROUTER}/24");
    let address = format!("{PARTNER_IP}/24");
    let steps: &[&[&str]] = &[
        &["netns", "add", PARTNER],
        &["link", "add", "partner0", "type", "veth", "peer", "name", "eth0", "netns", PARTNER],
        &["addr", "add", &router, "dev", "partner0"],
        &["link", "set", "partner0", "up"],
        &["-n", PARTNER, "link", "set", "lo", "up"],
        &["-n", PARTNER, "addr", "add", &address, "dev", "eth0"],
        &["-n", PARTNER, "link", "set", "eth0", "up"],
        &["-n", PARTNER, "route", "add", "default", "via", PARTNER_ROUTER],
    ];
    ip(steps)
}

/// Calls ip(8) with each of these.
fn ip(calls: &[&[&str]]) -> Result<()> {
    calls.iter().try_for_each(|arguments| run(Command::new("ip").args(*arguments)).map(drop))
}

/// Removes what a holder leaves on disk.
pub fn clean(paths: &Paths) -> Result<()> {
    remove_dir(&paths.state)
}

/// The namespaces of a living holder, for [`super::enter`].
pub fn namespaces(holder: Process) -> Result<(File, File)> {
    let open = |name: &str| {
        let path = format!("/proc/{}/ns/{name}", holder.pid);
        File::open(&path).with_context(|| format!("failed to open {path}"))
    };
    Ok((open("net")?, open("mnt")?))
}
