//! Fenced requests as bytes, sent straight to a shard: what etcd makes of them, and what its replies say.

mod full;
mod limits;
mod moved;
mod same;
mod shard;

/// One test on the newest etcd and one on the oldest for each rule named.
macro_rules! on_both {
    ($($rule:ident),* $(,)?) => {
        mod on_newest {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule(etcd_prism_tests::tools::Version::Newest).await;
            })*
        }
        mod on_oldest {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule(etcd_prism_tests::tools::Version::V3_5).await;
            })*
        }
    };
}
pub(crate) use on_both;
