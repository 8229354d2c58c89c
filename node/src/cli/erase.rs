//! Flags of `erase`.

use clap::Args;
use shardmill_connectors::erasure::{Field, Wanted};

use super::Reach;

/// Flags of `erase`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["user", "conditions"]))]
pub struct EraseArgs {
    /// The person whose user id, anonymous id or partition key this is
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub user: Option<String>,
    /// With --user: this field of events, too, may hold the id (/context/email)
    #[arg(long = "field", value_name = "FIELD", requires = "user", conflicts_with = "conditions", value_parser = Field::parse)]
    pub fields: Vec<Field>,
    /// Events of which this holds: 'user_id = "u1"', '/context/email = a@b.example'; of several, all
    #[arg(long = "where", value_name = "CONDITION", value_parser = Wanted::parse)]
    pub conditions: Vec<Wanted>,
    /// Delete replaced files at once, not after the delete grace: queries that read them fail
    #[arg(long, conflicts_with = "dry_run")]
    pub now: bool,
    /// Only tell what would be erased
    #[arg(long)]
    pub dry_run: bool,
    /// Where
    #[command(flatten)]
    pub reach: Reach,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn an_erasure_says_whom_in_one_way() {
        for (line, is) in [
            ("erase --user u1 --field /context/email --dry-run --json", true),
            ("erase --where user_id=u1 --where /plan=free --now -c x.toml", true),
            ("erase", false),
            ("erase --user u1 --where a=1", false),
            ("erase --where a=1 --field b", false),
            ("erase --user u1 --now --dry-run", false),
            ("erase --where a", false),
            ("erase --where a>=1", false),
            ("erase --user u1 --field /", false),
        ] {
            let words = std::iter::once("shardmill").chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), is, "{line}");
        }
    }
}
