//! Prints every type of event, for the documentation.

use std::fmt::Write as _;

use crate::domain::event::CATALOGUE;

/// Prints the table.
///
/// # Errors
/// Never.
pub fn print() -> anyhow::Result<()> {
    print!("{}", table()?);
    Ok(())
}

fn table() -> anyhow::Result<String> {
    let mut text = String::from(
        "# Types of security events\n\nMade by `make generate` from `src/domain/event/catalogue.rs`. What they are for: \
         [security-events.md](security-events.md).\n\nEach has, beside what is named here: uid, time, actor, object, outcome, \
         reason, message, severity, source, count and, where they apply, cluster, principals, entries, requestedBy, correlation, \
         client and window. Who has no name (`by` of a principal) is `unknown`. The last column is what OCSF 1.8.0 has of it beside \
         what it has of all. CloudEvents' type is \
         `dev.weir.<name>.v1`.\n\n\
         | action | name | when | about | by | severity | OCSF class | source | resource | fields |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in CATALOGUE {
        let actors: Vec<_> = row.actors.iter().map(|a| format!("{a:?}")).collect();
        let sources: Vec<_> = row.sources.iter().map(|s| format!("{s:?}")).collect();
        writeln!(
            text,
            "| `{:?}` | `{}` | {} | {} | {} | {:?} | {} {} | {} | {} | {} |",
            row.action,
            row.name,
            row.when,
            if row.objects.is_empty() {
                "the product, else the resource, or the StreamCluster".to_owned()
            } else {
                row.objects.join(", ")
            },
            actors.join(", "),
            row.severity,
            row.class.uid(),
            row.class.name(),
            sources.join(", "),
            if row.record_only { "on record only" } else { "yes" },
            row.class.attributes(),
        )?;
    }
    Ok(text)
}
