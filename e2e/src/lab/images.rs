//! The images of the lab, and loading images into containerd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use super::build::{Built, key};
use super::command::run;
use super::image::{Image, digest, libraries};
use super::kafka;
use super::paths::{INSIDE, Paths};
use super::progress::Progress;

/// A shell and busybox' tools; also what keeps a pod's namespaces.
pub const BUSYBOX: &str = "weir.local/busybox:1";
/// Kafka: broker, command-line tools, Connect, MirrorMaker 2, and a shell.
pub const KAFKA: &str = "weir.local/kafka:4.3.1";
/// A client on librdkafka, and a shell.
pub const KCAT: &str = "weir.local/kcat:1";
/// The operator, as [`weir`] builds it.
pub const WEIR: &str = "weir.local/weir:dev";

/// Libraries of the Java runtime that draw, print or play, and so are linked
/// with what no image needs.
const GRAPHICS: [&str; 6] = ["libawt", "libfont", "libjawt", "libjsound", "libsplash", "liblcms"];

/// The archives of the lab's own images, built where they are not in the
/// cache. Each with its name.
pub fn all(paths: &Paths, built: &Built, progress: &Progress) -> Result<Vec<(String, PathBuf)>> {
    let busybox = cached(paths, progress, BUSYBOX, "1", |image| {
        image.shell();
        Ok(())
    })?;
    let version = built.librdkafka.display().to_string();
    let kcat = cached(paths, progress, KCAT, &version, |image| {
        image.shell();
        kcat_files(image, built)
    })?;
    let version = format!("{} {:?}", built.kafka.display(), kafka::tool_scripts("/opt/kafka"));
    let kafka = cached(paths, progress, KAFKA, &version, |image| {
        image.shell();
        kafka_files(image, built)
    })?;
    Ok(vec![busybox, kcat, kafka])
}

/// Debian's kcat on the lab's librdkafka.
fn kcat_files(image: &mut Image, built: &Built) -> Result<()> {
    let kcat = Path::new("/usr/bin/kcat");
    image.copy(kcat, "usr/bin/kcat");
    let search = built.librdkafka.display().to_string();
    for library in libraries(kcat, &search)? {
        // Where the loader looks before it looks for Debian's.
        let ours = library.starts_with(&built.librdkafka);
        let to = if ours {
            Path::new("opt/librdkafka/librdkafka.so.1")
        } else {
            library.strip_prefix("/").unwrap_or(&library)
        };
        image.copy(&library, to);
    }
    Ok(())
}

fn kafka_files(image: &mut Image, built: &Built) -> Result<()> {
    let runtime = built.kafka.join("runtime");
    image.copy(&runtime, "opt/kafka/runtime");
    image.copy(built.kafka.join("libs"), "opt/kafka/libs");
    for (name, script) in kafka::tool_scripts("/opt/kafka") {
        image.script(Path::new("opt/kafka/bin").join(name), script);
    }
    image.text("opt/kafka/log4j2.properties", kafka::TOOLS_LOG4J);
    let mut binaries = vec![runtime.join("bin/java"), runtime.join("lib/server/libjvm.so")];
    let lib = runtime.join("lib");
    for entry in fs::read_dir(&lib).with_context(|| format!("failed to list {}", lib.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".so") && !GRAPHICS.iter().any(|prefix| name.starts_with(prefix)) {
            binaries.push(path);
        }
    }
    // The runtime's own libraries are in it already.
    let search = format!("{0}:{0}/server", lib.display());
    let mut outside = Vec::new();
    for binary in &binaries {
        let needed = libraries(binary, &search)?;
        outside.extend(needed.into_iter().filter(|path| !path.starts_with(&runtime)));
    }
    outside.sort();
    outside.dedup();
    for library in outside {
        let to = library.strip_prefix("/").unwrap_or(&library).to_owned();
        image.copy(library, to);
    }
    Ok(())
}

/// The archive of an image, built if the cache does not have this `version`.
fn cached(
    paths: &Paths,
    progress: &Progress,
    name: &str,
    version: &str,
    fill: impl FnOnce(&mut Image) -> Result<()>,
) -> Result<(String, PathBuf)> {
    let plain = name.trim_start_matches("weir.local/").replace(':', "-");
    let file = format!("{}.tar", key(&plain, &[version, "4"]));
    let archive = paths.cache.join("images").join(file);
    if !archive.exists() {
        progress.say(format!("building the image {name}"));
        let mut image = Image::new(json!({
            "Env": [
                "PATH=/opt/kafka/bin:/opt/kafka/runtime/bin:/usr/bin:/bin",
                "LD_LIBRARY_PATH=/opt/librdkafka",
            ],
            "Cmd": ["/bin/busybox", "sleep", "2147483647"],
        }));
        fill(&mut image)?;
        image.write(name, &archive)?;
    }
    Ok((name.to_owned(), archive))
}

/// Builds the image of the operator from a built binary: the binary, its
/// libraries, an unprivileged user, nothing else.
pub fn weir(paths: &Paths, binary: Option<PathBuf>) -> Result<(String, PathBuf)> {
    let candidates = ["release", "debug"].map(|profile| paths.root.join("target").join(profile).join("weir"));
    let binary = binary
        .or_else(|| candidates.iter().find(|path| path.exists()).cloned())
        .ok_or_else(|| anyhow!("no binary of weir: run `cargo build --release --bin weir` first"))?;
    if !binary.exists() {
        bail!("the binary {} does not exist", binary.display());
    }
    let archive = paths.cache.join("images").join(format!("{}.tar", key("weir", &[digest(&binary)?.as_str(), "2"])));
    if !archive.exists() {
        let mut image = Image::new(json!({
            "Entrypoint": ["/weir"],
            "User": "65532:65532",
        }));
        image.copy(&binary, "weir");
        image.libraries_of(&[binary])?;
        image.write(WEIR, &archive)?;
    }
    Ok((WEIR.to_owned(), archive))
}

/// Loads an archive into containerd under the names it holds, which must be
/// `name` among others. Called inside the lab.
pub fn load(name: &str, archive: &Path) -> Result<()> {
    run(ctr().args(["images", "import"]).arg(archive))
        .with_context(|| format!("failed to load {}", archive.display()))?;
    let names = run(ctr().args(["images", "list", "-q"]))?;
    if !names.lines().any(|line| line == name) {
        bail!("{} does not hold the image {name}", archive.display());
    }
    Ok(())
}

/// containerd's own client, for the images that the kubelet sees.
pub fn ctr() -> Command {
    let mut command = Command::new("ctr");
    command.arg(format!("--address={INSIDE}/containerd/containerd.sock")).args(["--namespace", "k8s.io"]);
    command
}

#[cfg(test)]
mod tests {
    use super::KAFKA;

    #[test]
    fn the_tag_of_the_kafka_image_is_the_version_that_is_built() {
        let pom = include_str!("../../kafka/pom.xml");
        let tag = KAFKA.rsplit(':').next().unwrap_or_default();
        assert!(pom.contains(&format!("<kafka-version>{tag}</kafka-version>")), "{KAFKA}");
    }
}
