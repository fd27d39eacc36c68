//! `lab up`: brings up what is not up. Running it again is quick and heals
//! what has died.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::build::{self, Built};
use super::command::{create_dir, read, run, succeeds, tail};
use super::enter::enter;
use super::facts::Lab;
use super::kubernetes::{Component, apply, kubectl};
use super::paths::Paths;
use super::process::{Process, spawn_self};
use super::progress::{Progress, wait_for};
use super::state::State;
use super::{cgroup, containerd, down, holder, images, kafka, kubernetes, pki, test_kafka, toolchain};

/// How long one part may take to become ready.
const LIMIT: Duration = Duration::from_secs(120);

/// A lab in the making.
struct Up<'a> {
    paths: &'a Paths,
    progress: Progress,
    built: Built,
    state: State,
    /// Components that had died since they were started.
    died: BTreeSet<String>,
}

/// Builds what is not in the cache, without starting anything.
pub fn build(paths: &Paths, progress: Progress) -> Result<Built> {
    toolchain::install(&progress)?;
    let built = build::all(paths, &progress)?;
    images::all(paths, &built, &progress)?;
    Ok(built)
}

/// Brings the lab up.
pub fn up(paths: &Paths) -> Result<()> {
    let progress = Progress::start();
    let built = build(paths, progress)?;
    let mut state = State::load(paths);
    if state.living_holder().is_none() {
        if cgroup::exists(paths) || paths.state.exists() {
            progress.say("removing what an earlier run left");
            down::remove(paths, &state)?;
        }
        state = State::default();
    }
    let died = forget_dead(&mut state);
    let mut up = Up { paths, progress, built, state, died };
    up.isolate()?;
    up.run_kubernetes()?;
    up.load_images()?;
    up.run_kafka()?;
    // One more look at all: a component may die after its first seconds.
    up.wait("the lab", |_| true)?;
    test_kafka::describe(paths, &kafka::facts(paths)?)?;
    progress.say("the lab is up: e2e/lab exec -- kubectl get nodes");
    Ok(())
}

/// Removes dead components from the record; their names.
fn forget_dead(state: &mut State) -> BTreeSet<String> {
    let dead = |process: &Process| !process.is_alive();
    let names = state.components.iter().filter(|(_, process)| dead(process));
    let names: BTreeSet<String> = names.map(|(name, _)| name.clone()).collect();
    state.components.retain(|name, _| !names.contains(name));
    names
}

impl Up<'_> {
    /// Makes the namespaces if need be, and enters them.
    fn isolate(&mut self) -> Result<()> {
        cgroup::create(self.paths)?;
        let running = match self.state.living_holder() {
            Some(running) => running,
            None => {
                self.progress.say("making the lab's namespaces");
                let made = holder::start(self.paths)?;
                self.state.holder = Some(made);
                self.state.save(self.paths)?;
                made
            }
        };
        enter(running)
    }

    fn run_kubernetes(&mut self) -> Result<()> {
        pki::ensure(self.paths)?;
        containerd::configure(self.paths)?;
        kubernetes::configure(self.paths)?;
        self.install_tools()?;
        let mut started = BTreeSet::new();
        for component in [kubernetes::etcd(&self.built), containerd::component(), kubernetes::api_server(&self.built)] {
            started.extend(self.ensure_running(&component)?);
        }
        self.wait("the API server", |paths| succeeds(kubectl(paths).args(["get", "--raw", "/readyz"])))?;
        for component in kubernetes::others(&self.built) {
            started.extend(self.ensure_running(&component)?);
        }
        if !started.is_empty() {
            apply(self.paths, &self.paths.state.join("config/cluster.yaml"))?;
        }
        self.wait("containerd", |_| succeeds(images::ctr().arg("version")))
    }

    /// Starts a component that does not run; its name, if it was started.
    fn ensure_running(&mut self, component: &Component) -> Result<Option<&'static str>> {
        let name = component.name;
        if self.state.components.contains_key(name) {
            return Ok(None);
        }
        let again = if self.died.contains(name) { " again: it had died" } else { "" };
        self.progress.say(format!("starting {name}{again}"));
        let mut args = vec!["enter".to_owned(), "--".to_owned()];
        args.extend(component.argv.iter().cloned());
        let process = spawn_self(&args, &self.paths.log(name))?;
        self.state.components.insert(name.to_owned(), process);
        self.state.save(self.paths)?;
        Ok(Some(name))
    }

    /// Waits for a condition; fails at once if a component dies meanwhile.
    fn wait(&self, what: &str, condition: impl Fn(&Paths) -> bool) -> Result<()> {
        wait_for(what, LIMIT, || {
            for (name, process) in &self.state.components {
                if !process.is_alive() {
                    bail!("{name} has died");
                }
            }
            Ok(condition(self.paths))
        })
        .map_err(|error| self.explain(&error))
    }

    /// Adds the end of the logs to an error.
    fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        let mut text = format!("{error:#}");
        for name in self.state.components.keys() {
            let log = self.paths.log(name);
            let content = read(&log).unwrap_or_default();
            if text.starts_with(name.as_str()) || !text.contains("has died") {
                let end = tail(&content, 1500);
                text.push_str(&format!("\n--- end of {}:\n{end}", log.display()));
            }
        }
        text.push_str("\nwhat to do: read the log; `e2e/lab up` tries again, `e2e/lab down` starts over");
        anyhow::anyhow!(text)
    }

    fn install_tools(&self) -> Result<()> {
        create_dir(&self.paths.bin())?;
        let kubectl = self.built.kubernetes("kubectl");
        for (name, program) in [("kubectl", kubectl), ("helm", self.built.helm()), ("otelcol", self.built.otelcol())] {
            kafka::link(&program, &self.paths.bin().join(name))?;
        }
        // Built later: `kubectl weir` is there when `weir` is.
        kafka::link(&self.paths.target().join("debug/weir"), &self.paths.bin().join("kubectl-weir"))?;
        kafka::install_kcat(self.paths, &self.built)?;
        kafka::install_tools(self.paths, &self.built)
    }

    /// Loads the images that containerd does not have from these archives yet.
    fn load_images(&mut self) -> Result<()> {
        for (name, archive) in images::all(self.paths, &self.built, &self.progress)? {
            let archive_name = archive.display().to_string();
            if self.state.images.get(&name) == Some(&archive_name) {
                continue;
            }
            self.progress.say(format!("loading the image {name}"));
            images::load(&name, &archive)?;
            self.state.images.insert(name, archive_name);
            self.state.save(self.paths)?;
        }
        Ok(())
    }

    fn run_kafka(&mut self) -> Result<()> {
        let lab = kafka::facts(self.paths)?;
        if !self.state.kafka_answered {
            self.progress.say("starting Kafka");
            kafka::deploy(self.paths, &lab)?;
        }
        self.wait("a ready node", |paths| {
            let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
            run(kubectl(paths).args(["get", "node", kubernetes::NODE, "-o", path])).is_ok_and(|status| status == "True")
        })?;
        if !kafka::is_ready(self.paths) {
            self.progress.say("waiting for three brokers");
            kafka::wait_ready(self.paths)?;
        }
        self.ask_kafka(&lab)
    }

    fn ask_kafka(&mut self, lab: &Lab) -> Result<()> {
        if !self.state.kafka_answered {
            kafka::wait_answer(self.paths, lab)?;
            self.state.kafka_answered = true;
            self.state.save(self.paths)?;
        }
        Ok(())
    }
}

/// Loads an image into the lab that is up. Called inside the lab.
pub fn load_image(paths: &Paths, name: &str, archive: &Path) -> Result<()> {
    images::load(name, archive)?;
    let mut state = State::load(paths);
    state.images.insert(name.to_owned(), archive.display().to_string());
    state.save(paths)
}
