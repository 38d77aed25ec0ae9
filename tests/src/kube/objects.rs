//! The kinds of objects that the tests write, and where each is stored.

use serde_json::{Value, json};

/// The annotation that holds the number of an object's last numbered update.
pub const NUMBER: &str = "prism.test/number";

/// One kind of object, in the namespace `default`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Pod,
    Event,
    Lease,
    ConfigMap,
    Secret,
    /// A custom object of [`crd`].
    Widget,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Pod, Self::Event, Self::Lease, Self::ConfigMap, Self::Secret, Self::Widget];

    /// `resource`, or `resource.group`, as kubectl and the metrics say it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Event => "events",
            Self::Lease => "leases.coordination.k8s.io",
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
            Self::Widget => "widgets.prism.test",
        }
    }

    /// The path of its list.
    pub fn collection(self) -> String {
        match self.resource().split_once('.') {
            None => format!("/api/v1/namespaces/default/{}", self.resource()),
            Some((resource, group)) => format!("/apis/{group}/v1/namespaces/default/{resource}"),
        }
    }

    /// The path of the object `name`.
    pub fn path(self, name: &str) -> String {
        format!("{}/{name}", self.collection())
    }

    /// The etcd key of the object `name`.
    pub fn key(self, name: &str) -> String {
        match self {
            Self::Lease => format!("/registry/leases/default/{name}"),
            Self::Widget => format!("/registry/prism.test/widgets/default/{name}"),
            core => format!("/registry/{}/default/{name}", core.resource()),
        }
    }

    /// A new object that the API server takes; its number is 0.
    pub fn object(self, name: &str) -> Value {
        let mut object = match self {
            Self::Pod => json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "spec": {"containers": [{"name": "main", "image": "registry.test/image:1"}]},
            }),
            Self::Event => json!({
                "apiVersion": "v1",
                "kind": "Event",
                "involvedObject": {"kind": "Pod", "namespace": "default", "name": name},
                "reason": "Tested",
                "message": "said by a test",
                "type": "Normal",
            }),
            Self::Lease => json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "spec": {"holderIdentity": name, "leaseDurationSeconds": 40},
            }),
            Self::ConfigMap => json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": "one"}}),
            Self::Secret => json!({"apiVersion": "v1", "kind": "Secret", "data": {"text": "b25l"}}),
            Self::Widget => json!({"apiVersion": "prism.test/v1", "kind": "Widget", "spec": {"size": 1}}),
        };
        object["metadata"] = json!({
            "name": name,
            "namespace": "default",
            "labels": {"made-by": "tests"},
            "annotations": {NUMBER: "0"},
        });
        object
    }
}

/// The definition of [`Kind::Widget`].
pub fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.prism.test"},
        "spec": {
            "group": "prism.test",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
                }},
            }],
        },
    })
}

/// A merge patch that sets an object's number.
pub fn numbered(number: u64) -> Value {
    json!({"metadata": {"annotations": {NUMBER: number.to_string()}}})
}

/// The number of an object; `None` where it has none.
pub fn number(object: &Value) -> Option<u64> {
    object["metadata"]["annotations"][NUMBER].as_str()?.parse().ok()
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The resource version of an object or a list.
pub fn resource_version(object: &Value) -> u64 {
    let text = &object["metadata"]["resourceVersion"];
    text.as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no resource version: {object}"))
}

/// The objects of a list.
pub fn items(list: &Value) -> &[Value] {
    // Go writes an empty slice as null.
    list["items"].as_array().map_or(&[], Vec::as_slice)
}
