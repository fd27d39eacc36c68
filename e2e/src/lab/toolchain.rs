//! What the machine must have: toolchains, which are only checked for, and
//! Debian's packages, which are installed where they are missing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow, bail};

use super::command::run;
use super::progress::Progress;

/// The programs taken from Debian's packages, with the package of each.
const PACKAGES: &[(&str, &str)] = &[
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("/usr/sbin/nft", "nftables"),
    ("/usr/sbin/ip", "iproute2"),
    ("/usr/sbin/iptables", "iptables"),
    ("/usr/sbin/conntrack", "conntrack"),
    ("/usr/bin/kcat", "kcat"),
    ("/usr/bin/busybox", "busybox-static"),
    ("/usr/bin/pip3", "python3-pip"),
];

/// Stops at once, naming the version wanted, if a toolchain is missing or too
/// old.
pub fn check() -> Result<()> {
    let go = run(Command::new("go").args(["env", "GOVERSION"])).unwrap_or_default();
    require("Go", (1, 26), go.trim().trim_start_matches("go"))?;
    let home = jdk()?;
    let java = run(Command::new(home.join("bin/java")).arg("--version")).unwrap_or_default();
    let version = java.split_whitespace().nth(1).unwrap_or_default();
    require("a JDK (java on PATH)", (17, 0), version)?;
    if !home.join("jmods").is_dir() {
        bail!(
            "the JDK {} has no jmods: install a JDK >= 17 with jmods (Debian: openjdk-17-jdk-headless)",
            home.display()
        );
    }
    if find("mvn").is_none() {
        bail!("Maven >= 3.8 (mvn on PATH) is needed and was not found");
    }
    if find("cc").is_none() {
        bail!("a C compiler (cc on PATH; Debian: gcc) is needed and was not found");
    }
    Ok(())
}

/// Compares the first two numbers of `version`.
fn require(what: &str, wanted: (u32, u32), version: &str) -> Result<()> {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    let major = numbers.next().flatten();
    let minor = numbers.next().flatten().unwrap_or(0);
    let found = major.map(|major| (major, minor));
    let (major, minor) = wanted;
    match found {
        Some(found) if found >= wanted => Ok(()),
        None => bail!("{what} >= {major}.{minor} is needed and was not found"),
        Some(_) => bail!("{what} >= {major}.{minor} is needed; found {version}"),
    }
}

/// The home of the JDK whose `java` is on PATH.
pub fn jdk() -> Result<PathBuf> {
    let java = find("java").ok_or_else(|| anyhow!("a JDK >= 17 is needed: no java on PATH"))?;
    let java = fs::canonicalize(&java).unwrap_or(java);
    java.parent()
        .and_then(Path::parent)
        .map(Path::to_owned)
        .ok_or_else(|| anyhow!("{} is not in a JDK", java.display()))
}

/// A program on PATH.
fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Installs the missing ones of Debian's packages.
pub fn install(progress: &Progress) -> Result<()> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(program, _)| !Path::new(program).exists()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    progress.say(format!("installing Debian's {}", missing.join(" ")));
    let install = || {
        run(Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if install().is_err() {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        install()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::require;

    #[test]
    fn a_toolchain_that_is_too_old_is_refused_by_the_version_wanted() {
        let go = |version| require("Go", (1, 26), version).map_err(|error| error.to_string());
        assert_eq!(go("1.26.8"), Ok(()));
        assert_eq!(go("2"), Ok(()));
        assert_eq!(go("1.25.1"), Err("Go >= 1.26 is needed; found 1.25.1".to_owned()));
        assert_eq!(go(""), Err("Go >= 1.26 is needed and was not found".to_owned()));
    }
}
