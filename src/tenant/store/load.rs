//! Rows back into tenants. A row that makes no sense is damage, said as such; it is never guessed at.

use std::{collections::BTreeMap, path::Path, str::FromStr};

use sqlx::{Connection, Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    super::{
        Epoch, KeyHash, OriginPattern, Status, Tenant, TenantId, TenantKey,
        error::{StoreProblem, TenantError},
        seal::SealKey,
    },
    Loaded,
    lenient::read_json,
    problem,
};

/// Read everything in one transaction.
pub(super) async fn load(pool: &SqlitePool, path: &Path, key: &SealKey) -> Result<Loaded, TenantError> {
    let failed = |error: sqlx::Error| problem::of(path, &error);
    let mut connection = pool.acquire().await.map_err(failed)?;
    let rows = read(&mut connection).await;
    if rows.is_err() {
        // It may think itself in a transaction that SQLite has ended; see `Store::write`.
        connection.close_on_drop();
    }
    drop(connection);
    let rows = rows.map_err(failed)?;
    let damaged = |detail: String| StoreProblem::Damaged { path: path.to_owned(), detail };
    let mut tenants = BTreeMap::new();
    for row in &rows.tenants {
        let mut tenant = tenant(row).map_err(damaged)?;
        if let Some(sealed) = column::<Option<Vec<u8>>>(row, "database_sealed").map_err(damaged)? {
            let url = key.open(&tenant.id, &sealed)?;
            tenant.database =
                Some(url.parse().map_err(|problem| damaged(format!("{}: {problem}", tenant.id)))?);
        }
        tenants.insert(tenant.id.clone(), tenant);
    }
    let mut owner = |row: &SqliteRow, give: &mut dyn FnMut(&mut Tenant) -> Result<(), String>| {
        let id: String = column(row, "tenant_id")?;
        let tenant = tenants.get_mut(id.as_str()).ok_or_else(|| format!("a row of no tenant `{id}`"))?;
        give(tenant)
    };
    for row in &rows.origins {
        owner(row, &mut |tenant| origin(row, tenant)).map_err(damaged)?;
    }
    for row in &rows.hosts {
        owner(row, &mut |tenant| {
            tenant.hosts.push(parse(&column::<String>(row, "host")?)?);
            Ok(())
        })
        .map_err(damaged)?;
    }
    for row in &rows.keys {
        owner(row, &mut |tenant| {
            tenant.keys.push(tenant_key(row)?);
            Ok(())
        })
        .map_err(damaged)?;
    }
    Ok(Loaded { tenants: tenants.into_values().collect(), revision: rows.revision })
}

struct Rows {
    revision: i64,
    tenants: Vec<SqliteRow>,
    origins: Vec<SqliteRow>,
    hosts: Vec<SqliteRow>,
    keys: Vec<SqliteRow>,
}

async fn read(connection: &mut SqliteConnection) -> Result<Rows, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let revision =
        sqlx::query_scalar("SELECT revision FROM registry WHERE id = 1").fetch_one(&mut *transaction).await?;
    let tenants = sqlx::query("SELECT * FROM tenant ORDER BY id").fetch_all(&mut *transaction).await?;
    let origins = sqlx::query("SELECT * FROM tenant_origin ORDER BY tenant_id, position")
        .fetch_all(&mut *transaction)
        .await?;
    let hosts = sqlx::query("SELECT * FROM tenant_host ORDER BY tenant_id, position")
        .fetch_all(&mut *transaction)
        .await?;
    let keys = sqlx::query("SELECT * FROM tenant_key ORDER BY tenant_id, position")
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Rows { revision, tenants, origins, hosts, keys })
}

fn tenant(row: &SqliteRow) -> Result<Tenant, String> {
    let id: TenantId = parse(&column::<String>(row, "id")?)?;
    let in_tenant = |problem: String| format!("tenant `{id}`: {problem}");
    let mut tenant = Tenant::new(id.clone());
    let word: String = column(row, "status")?;
    tenant.status = Status::from_word(&word).ok_or_else(|| in_tenant(format!("status `{word}`")))?;
    tenant.epoch = Epoch::from_bytes(bytes(row, "epoch")?);
    tenant.backend = column(row, "backend")?;
    if let Some(cors) = column::<Option<String>>(row, "cors")? {
        tenant.cors = Some(read_json(&cors).map_err(|error| in_tenant(error.to_string()))?);
    }
    let limits: String = column(row, "limits")?;
    tenant.limits = read_json(&limits).map_err(|error| in_tenant(error.to_string()))?;
    tenant.declared = column(row, "declared")?;
    Ok(tenant)
}

/// An origin that was good when it was written. The Public Suffix List grows with each version of ours, and a wildcard
/// over a new suffix must not keep the gateway from starting: it is left out, and said so.
fn origin(row: &SqliteRow, tenant: &mut Tenant) -> Result<(), String> {
    match column::<String>(row, "origin")?.parse::<OriginPattern>() {
        Ok(origin) => tenant.origins.push(origin),
        Err(problem) => {
            tracing::warn!(tenant = %tenant.id, %problem, "an origin in the registry is no longer allowed: left out");
        }
    }
    Ok(())
}

fn tenant_key(row: &SqliteRow) -> Result<TenantKey, String> {
    Ok(TenantKey {
        name: column(row, "name")?,
        hash: KeyHash(bytes(row, "hash")?),
        created_unix_s: column(row, "created_unix_s")?,
    })
}

fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, String>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(|error| error.to_string())
}

fn bytes<const N: usize>(row: &SqliteRow, name: &str) -> Result<[u8; N], String> {
    column::<Vec<u8>>(row, name)?.try_into().map_err(|_| format!("`{name}` has not {N} bytes"))
}

fn parse<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}
