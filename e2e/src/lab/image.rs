//! Container images of one layer, written as docker-archives by hand: a
//! program, the libraries that it is linked with, and little else.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::command::{create_dir, run};

/// Applets of busybox that images with a shell have under `/bin`.
const APPLETS: &str = "sh ash awk base64 basename cat chmod chown cp cut date dd df dirname du echo \
env expr false find grep head hostname httpd id kill ln ls mkdir mktemp mv nc netstat nslookup od ping \
printf ps pwd rm sed seq sleep sort tail tar tee test timeout touch tr true uname uniq vi wc wget which xargs";

/// An image in the making.
pub struct Image {
    files: Vec<(PathBuf, PathBuf)>,
    texts: Vec<(PathBuf, String, u32)>,
    links: Vec<(PathBuf, PathBuf)>,
    config: serde_json::Value,
}

impl Image {
    /// An image with the users, name service order and /tmp that programs expect.
    /// `config` is the `config` of the OCI image configuration.
    pub fn new(config: serde_json::Value) -> Self {
        let mut image = Self { files: Vec::new(), texts: Vec::new(), links: Vec::new(), config };
        image.text(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nkafka:x:1000:1000::/tmp:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/sh\n",
        );
        image.text("etc/group", "root:x:0:\nkafka:x:1000:\nnonroot:x:65532:\n");
        image.text("etc/nsswitch.conf", "hosts: files dns\n");
        image
    }

    /// Adds a file or, with all that it holds, a directory of this machine.
    pub fn copy(&mut self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) {
        self.files.push((from.into(), to.into()));
    }

    /// Adds a text file.
    pub fn text(&mut self, to: impl Into<PathBuf>, content: impl Into<String>) {
        self.texts.push((to.into(), content.into(), 0o644));
    }

    /// Adds an executable script.
    pub fn script(&mut self, to: impl Into<PathBuf>, content: impl Into<String>) {
        self.texts.push((to.into(), content.into(), 0o755));
    }

    /// Adds busybox and links to it.
    pub fn shell(&mut self) {
        self.copy("/usr/bin/busybox", "bin/busybox");
        for applet in APPLETS.split_whitespace() {
            self.links.push((Path::new("bin").join(applet), PathBuf::from("/bin/busybox")));
        }
    }

    /// Adds the shared libraries that `binaries` are linked with.
    pub fn libraries_of(&mut self, binaries: &[PathBuf]) -> Result<()> {
        let mut all = BTreeSet::new();
        for binary in binaries {
            all.extend(libraries(binary, "")?);
        }
        for library in all {
            let to = library.strip_prefix("/").unwrap_or(&library).to_owned();
            self.copy(library, to);
        }
        Ok(())
    }

    /// Writes the image as a docker-archive that holds it under `name`.
    pub fn write(&self, name: &str, archive: &Path) -> Result<()> {
        if let Some(parent) = archive.parent() {
            create_dir(parent)?;
        }
        let layer = archive.with_extension("layer");
        let digest = self.write_layer(&layer).with_context(|| format!("failed to write the layer of {name}"))?;
        let partial = archive.with_extension("partial");
        self.write_archive(name, &layer, &digest, &partial)
            .with_context(|| format!("failed to write {}", partial.display()))?;
        fs::remove_file(&layer)?;
        fs::rename(&partial, archive).with_context(|| format!("failed to name {}", archive.display()))
    }

    fn write_layer(&self, layer: &Path) -> Result<String> {
        let file = io::BufWriter::new(File::create(layer)?);
        let mut tar = tar::Builder::new(Hashing { inner: file, hash: Sha256::new() });
        tar.mode(tar::HeaderMode::Deterministic);
        // A program may have holes, and containerd knows no sparse files.
        tar.sparse(false);
        directory(&mut tar, "tmp", 0o1777)?;
        for (from, to) in &self.files {
            tar.follow_symlinks(!from.is_dir());
            if from.is_dir() { tar.append_dir_all(to, from) } else { tar.append_path_with_name(from, to) }
                .with_context(|| format!("failed to add {}", from.display()))?;
        }
        for (to, content, mode) in &self.texts {
            let mut header = header(tar::EntryType::Regular, *mode, content.len() as u64);
            tar.append_data(&mut header, to, content.as_bytes())?;
        }
        for (link, target) in &self.links {
            let mut header = header(tar::EntryType::Symlink, 0o777, 0);
            tar.append_link(&mut header, link, target)?;
        }
        let mut written = tar.into_inner()?;
        written.flush()?;
        Ok(hex::encode(written.hash.finalize()))
    }

    fn write_archive(&self, name: &str, layer: &Path, digest: &str, out: &Path) -> Result<()> {
        let config = json!({
            "architecture": architecture()?,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        })
        .to_string();
        let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
        let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).to_string();
        let mut tar = tar::Builder::new(io::BufWriter::new(File::create(out)?));
        tar.sparse(false);
        for (file, content) in [(config_name.as_str(), &config), ("manifest.json", &manifest)] {
            let mut header = header(tar::EntryType::Regular, 0o644, content.len() as u64);
            tar.append_data(&mut header, file, content.as_bytes())?;
        }
        tar.append_path_with_name(layer, "layer.tar")?;
        tar.into_inner()?.flush()?;
        Ok(())
    }
}

/// A writer that hashes what goes through it.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

fn directory<W: Write>(tar: &mut tar::Builder<W>, path: &str, mode: u32) -> Result<()> {
    let mut header = header(tar::EntryType::Directory, mode, 0);
    tar.append_data(&mut header, path, io::empty())?;
    Ok(())
}

/// This machine's architecture in Go's words, as image configurations name it.
pub fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("the lab knows no image architecture for {other}"),
    }
}

/// The shared libraries that a program or library is linked with, and its
/// loader; none for a static one. `search` is further directories to look in,
/// parted by colons.
pub fn libraries(binary: &Path, search: &str) -> Result<Vec<PathBuf>> {
    let Ok(text) = run(Command::new("ldd").arg(binary).env("LD_LIBRARY_PATH", search)) else {
        // "not a dynamic executable"; any other trouble shows when it runs.
        return Ok(Vec::new());
    };
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        bail!("{} needs a library: {}", binary.display(), line.trim());
    }
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect())
}

/// The SHA-256 of a file.
pub fn digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}
