//! The rules of a watch through the proxy, one by one; those that etcd keeps as well are tried on etcd too.

mod breaks;
mod content;
mod creates;
mod faults;
mod progress;
mod site;
mod slow;
mod spanning;

/// One test on etcd and one through the proxy for each rule named.
macro_rules! on_both {
    ($($rule:ident),* $(,)?) => {
        mod on_etcd {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule(&crate::site::Site::etcd().await).await;
            })*
        }
        mod through_the_proxy {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule(&crate::site::Site::proxy().await).await;
            })*
        }
    };
}
pub(crate) use on_both;
