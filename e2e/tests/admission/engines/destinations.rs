//! Who may copy here.

use super::{cluster, several};
use crate::cases::Action::Create;
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::Platform;
use crate::cases::{Case, about};

const ALL: &str = "namespaceSelector: {}";

/// Namespaces, and their limits.
pub fn cases() -> Vec<Case> {
    let quotas = "name at least one quota";
    let offering = |entries: &str| cluster(&format!("destinations: [{entries}]"));
    let limited = |limits: &str| offering(&format!("{{name: all, {ALL}, limits: {{{limits}}}}}"));
    [
        about(
            quotas,
            [
                (
                    "copies with limits",
                    Platform,
                    Create,
                    limited(
                        "partitions: 12, replicas: 3, configKeys: [retention.ms], quotas: {consumerByteRate: 1048576}",
                    ),
                    Accepted,
                ),
                ("copies with a limit on no quota", Platform, Create, limited("quotas: {}"), Refused(quotas)),
            ],
        ),
        about(
            "bounds of destinations",
            [
                ("copies from nowhere", Platform, Create, offering(""), Accepted),
                ("as many destinations as there may be", Platform, Create, offering(&several(64, ALL)), Accepted),
                (
                    "too many destinations",
                    Platform,
                    Create,
                    offering(&several(65, ALL)),
                    Refused("spec.destinations: Too many: 65: must have at most 64 items"),
                ),
                (
                    "two destinations of one name",
                    Platform,
                    Create,
                    offering(&format!("{{name: all, {ALL}}}, {{name: all, {ALL}}}")),
                    Refused("spec.destinations[1]: Duplicate value: {\"name\":\"all\"}"),
                ),
                (
                    "a destination that selects nothing",
                    Platform,
                    Create,
                    offering("{name: all}"),
                    Refused("spec.destinations[0].namespaceSelector: Required value"),
                ),
                (
                    "a destination that selects null",
                    Platform,
                    Create,
                    offering("{name: all, namespaceSelector: null}"),
                    Refused("spec.destinations[0].namespaceSelector"),
                ),
                (
                    "a destination without a name",
                    Platform,
                    Create,
                    offering(&format!("{{{ALL}}}")),
                    Refused("spec.destinations[0].name: Required value"),
                ),
                (
                    "a destination with an empty name",
                    Platform,
                    Create,
                    offering(&format!("{{name: '', {ALL}}}")),
                    Refused("spec.destinations[0].name in body should be at least 1 chars long"),
                ),
                (
                    "copies of no partition",
                    Platform,
                    Create,
                    limited("partitions: 0"),
                    Refused("spec.destinations[0].limits.partitions in body should be greater than or equal to 1"),
                ),
            ],
        ),
    ]
    .concat()
}
