//! What an uninstallation would strand: objects that wait for Weir's finalizer, with their access left on the brokers.

use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::{DataProduct, ExternalShare, RoleBinding, StreamClient, StreamCluster};

/// How many objects a refusal names.
const MOST: usize = 20;

/// Names every object that an uninstallation would strand, as `kind namespace/name`.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn stranded(client: &Client) -> Result<Vec<String>, kube::Error> {
    let mut names = names::<RoleBinding>(client).await?;
    names.extend(self::names::<ExternalShare>(client).await?);
    names.extend(self::names::<StreamClient>(client).await?);
    names.extend(self::names::<DataProduct>(client).await?);
    names.extend(self::names::<StreamCluster>(client).await?);
    Ok(names)
}

/// What to tell whoever uninstalls; `None` where nothing would be stranded.
pub fn refusal(stranded: &[String]) -> Option<String> {
    if stranded.is_empty() {
        return None;
    }
    let named: Vec<_> = stranded.iter().take(MOST).map(|n| format!("  {n}")).collect();
    let more = stranded.len().saturating_sub(MOST);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    Some(format!(
        "{} objects would be stranded: nobody could delete them, and their access would stay on the brokers.\n{}{more}\n\
         Delete them first, or leave everything as it is with: helm uninstall --no-hooks",
        stranded.len(),
        named.join("\n")
    ))
}

async fn names<K>(client: &Client) -> Result<Vec<String>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let list = Api::<K>::all(client.clone()).list(&Default::default()).await?;
    let name = |o: &K| match o.namespace() {
        Some(namespace) => format!("{} {namespace}/{}", K::kind(&()), o.name_any()),
        None => format!("{} {}", K::kind(&()), o.name_any()),
    };
    Ok(list.iter().map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn an_empty_cluster_may_be_left() {
        assert_eq!(refusal(&[]), None);
    }

    #[test]
    fn a_refusal_names_objects_and_the_way_out() {
        let text = refusal(&(0..25).map(|n| format!("RoleBinding a/{n}")).collect::<Vec<_>>()).unwrap();
        assert!(text.contains("25 objects") && text.contains("RoleBinding a/0") && text.contains("5 more"), "{text}");
        assert!(text.contains("--no-hooks"), "{text}");
    }
}
