//! The CustomResourceDefinitions, from the types of [`crate::api`].

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::api::{
    AccessApproval, AuditTrail, DataProduct, ExternalShare, Invitation, Partner, RoleBinding, SecurityEvent,
    StreamClient, StreamCluster, StreamRole,
};

/// Every kind's definition.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        StreamCluster::crd(),
        DataProduct::crd(),
        StreamClient::crd(),
        StreamRole::crd(),
        RoleBinding::crd(),
        AccessApproval::crd(),
        Partner::crd(),
        ExternalShare::crd(),
        Invitation::crd(),
        SecurityEvent::crd(),
        AuditTrail::crd(),
    ]
}
