//! The credentials of workers and copiers: issued as a client's are, and left in the one Secret that the workers read.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::StreamClient;
use crate::controllers::applier::{ClusterHandle, Order};
use crate::controllers::context::Context;
use crate::controllers::issuing::{Life, Turn, too_many};
use crate::domain::connection::{Issued, Version, authentication_of, listener, secret_data};
use crate::domain::ledger::VersionRecord;
use crate::domain::names::ObjectKey;
use crate::domain::problem::Problem;
use crate::domain::replication::connector::{Login, Part, file_of, files_of};
use crate::domain::secret::Secret;
use crate::k8s::files::Files;

/// A version that was put among the files, to be told once those are written.
pub struct Publication {
    handle: Arc<ClusterHandle>,
    client: ObjectKey,
    version: u32,
}

impl Publication {
    /// The files are written.
    pub fn tell(self) {
        self.handle.order(Order::Published(self.client, self.version));
    }
}

/// What became of a credential.
#[derive(Default)]
pub struct Outcome {
    /// How to log in with the version that is among the files.
    pub login: Option<Login>,
    /// What stands in the way.
    pub problems: Vec<Problem>,
    /// What was added to the files.
    pub publication: Option<Publication>,
}

/// As what workers are shown credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As properties of a Java client.
    Properties,
    /// Each part by itself.
    Parts,
}

/// The key with the version of a client that is among the files, and its fingerprint.
fn note(uid: &str) -> String {
    format!("{uid}.published")
}

/// Takes the next step in the life of a credential.
pub fn advance(context: &Context, client: &StreamClient, shape: Shape, files: &mut Files) -> Outcome {
    let mut outcome = Outcome::default();
    let mut life = match Life::of(context, client, |spec, kind| listener(spec, kind).is_some()) {
        Ok(life) => life,
        Err(problem) => {
            outcome.problems.push(problem);
            // What is among the files still works, as far as anybody knows.
            outcome.login = login(context, client, files);
            return outcome;
        }
    };
    let uid = client.uid().unwrap_or_default();
    let key = ObjectKey::new(client.namespace().unwrap_or_default(), client.name_any());
    give_back(&life, &uid, files);
    let published = files.get(&note(&uid)).and_then(|note| note.expose().split_once(' ')).map(|(_, f)| f.to_owned());
    match life.turn(context, client, &key, published.as_deref()) {
        Turn::Waits(_) | Turn::Rest(_) => {}
        Turn::Late(at) => outcome.problems.push(too_many(at, "deletes or edits the Secret with credentials of copies")),
        Turn::Publish(version, issued) => {
            let parts = contents(context, client, shape, &version, &issued);
            if !parts.is_empty() {
                // The one before is in use until the connectors are told; those before that one are not.
                let keep = format!("{}.", files_of(&uid, version.version.saturating_sub(1)));
                files.retain(|file, _| !is_of(file, &uid) || file.starts_with(&keep));
                let of_it = files_of(&uid, version.version);
                files.extend(parts.into_iter().map(|(part, text)| (file_of(&of_it, part), text)));
                let seen = format!("{} {}", version.version, version.fingerprint);
                files.insert(note(&uid), Secret::new(seen));
                outcome.publication = Some(Publication { handle: life.handle, client: key, version: version.version });
            }
        }
    }
    outcome.problems.extend(life.problem);
    outcome.login = login(context, client, files);
    if let (Shape::Parts, Some(login)) = (shape, &outcome.login)
        && let Some(ca) = &login.ca_pem
    {
        // Brokers may change whom they are certified by while a version lasts.
        files.insert(file_of(&login.files, Part::Authority), Secret::new(ca));
    }
    outcome
}

/// Gives the brokers a password again that they lost.
fn give_back(life: &Life, uid: &str, files: &Files) {
    let Some(current) = life.record.as_ref().and_then(|r| r.current()) else { return };
    if !life.handle.state().lost_identities.contains(&current.principal) {
        return;
    }
    let of_it = files_of(uid, current.version);
    let alone = files.get(&file_of(&of_it, Part::Password)).cloned();
    let password = alone.or_else(|| files.get(&file_of(&of_it, Part::Properties)).and_then(password_in));
    if let Some(password) = password {
        life.handle.order(Order::Restore(current.principal.clone(), password));
    }
}

/// The password in the properties of a Java client.
fn password_in(properties: &Secret) -> Option<Secret> {
    let (_, rest) = properties.expose().split_once(" password=\"")?;
    Some(Secret::new(rest.split_once('"')?.0))
}

/// Whether a file is about the client with this UID.
fn is_of(file: &str, uid: &str) -> bool {
    file.strip_prefix(uid).is_some_and(|rest| rest.starts_with(['-', '.']))
}

/// Takes out the files of every client but those with these UIDs.
pub fn keep_only(files: &mut Files, uids: &[&str], others: &[&str]) {
    files.retain(|file, _| others.contains(&file.as_str()) || uids.iter().any(|uid| is_of(file, uid)));
}

/// How to log in with the version that is among the files.
fn login(context: &Context, client: &StreamClient, files: &Files) -> Option<Login> {
    let uid = client.uid()?;
    let version = files.get(&note(&uid))?.expose().split_once(' ')?.0.parse().ok()?;
    let of_it = files_of(&uid, version);
    let file = |part: Part| files.get(&file_of(&of_it, part));
    [Part::Properties, Part::Password, Part::Key].into_iter().find_map(file)?;
    let user = file(Part::User).map(|user| user.expose().to_owned());
    let (cluster, kind) = (&client.spec.cluster_ref.name, client.spec.credentials.type_);
    let index = context.world.index();
    let listener = listener(index.cluster_spec(cluster)?, authentication_of(kind))?;
    let bootstrap_servers = listener.bootstrap_servers.clone();
    Some(Login { bootstrap_servers, kind, ca_pem: context.ca_pem(cluster), files: of_it, user })
}

/// What the files of a version have; nothing where it cannot be used.
fn contents(
    context: &Context,
    client: &StreamClient,
    shape: Shape,
    version: &VersionRecord,
    issued: &Issued,
) -> Vec<(Part, Secret)> {
    let cluster = &client.spec.cluster_ref.name;
    let ca_pem = context.ca_pem(cluster);
    let index = context.world.index();
    let kind = authentication_of(client.spec.credentials.type_);
    let Some(listener) = index.cluster_spec(cluster).and_then(|spec| listener(spec, kind)) else { return Vec::new() };
    match (shape, issued) {
        (Shape::Properties, _) => {
            let version = Version::of(".", version, issued, &client.spec.credentials);
            let properties = secret_data(listener, ca_pem.as_deref(), &version).remove("client.properties");
            properties.map(|text| (Part::Properties, text)).into_iter().collect()
        }
        (Shape::Parts, Issued::Password(password)) => {
            vec![(Part::User, Secret::new(&version.principal)), (Part::Password, password.clone())]
        }
        (Shape::Parts, Issued::Certificate { certificate_pem, key_pem }) => {
            vec![(Part::Certificate, Secret::new(certificate_pem)), (Part::Key, key_pem.clone())]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::password_in;
    use crate::domain::secret::Secret;

    #[test]
    fn a_password_is_found_in_its_file() {
        let jaas = "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required";
        let text = format!("a=b\n{jaas} username=\"~xs.1-1\" password=\"s3cret\";\n");
        assert_eq!(password_in(&Secret::new(text)), Some(Secret::new("s3cret")));
        assert_eq!(password_in(&Secret::new("ssl.keystore.type=PEM\n")), None);
    }
}
