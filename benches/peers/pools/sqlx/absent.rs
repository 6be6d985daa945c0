//! The rows, values and statements that sqlx requires of a database. This database has none.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use sqlx_core::Either;
use sqlx_core::arguments::{Arguments, IntoArguments};
use sqlx_core::column::{Column, ColumnIndex};
use sqlx_core::encode::Encode;
use sqlx_core::error::{BoxDynError, Error};
use sqlx_core::from_row::FromRow;
use sqlx_core::query::Query;
use sqlx_core::query_as::QueryAs;
use sqlx_core::query_scalar::QueryScalar;
use sqlx_core::row::Row;
use sqlx_core::sql_str::SqlStr;
use sqlx_core::statement::Statement;
use sqlx_core::type_info::TypeInfo;
use sqlx_core::types::Type;
use sqlx_core::value::{Value, ValueRef};

use super::database::PoolManager;
use crate::transport::Transport;

/// An uninhabited type.
pub(crate) struct Absent<K>(Infallible, PhantomData<fn() -> K>);

/// The arguments of a statement.
pub(crate) struct NoArguments<K>(PhantomData<fn() -> K>);

impl<K> Absent<K> {
    fn is_not(&self) -> ! {
        match self.0 {}
    }
}

impl<K: Transport> Row for Absent<K> {
    type Database = PoolManager<K>;

    fn columns(&self) -> &[Absent<K>] {
        self.is_not()
    }

    fn try_get_raw<I: ColumnIndex<Self>>(&self, _index: I) -> Result<Absent<K>, Error> {
        self.is_not()
    }
}

impl<K: Transport> Column for Absent<K> {
    type Database = PoolManager<K>;

    fn ordinal(&self) -> usize {
        self.is_not()
    }

    fn name(&self) -> &str {
        self.is_not()
    }

    fn type_info(&self) -> &Absent<K> {
        self.is_not()
    }
}

impl<K: Transport> TypeInfo for Absent<K> {
    fn is_null(&self) -> bool {
        self.is_not()
    }

    fn name(&self) -> &str {
        self.is_not()
    }
}

impl<K: Transport> Value for Absent<K> {
    type Database = PoolManager<K>;

    fn as_ref(&self) -> Absent<K> {
        self.is_not()
    }

    fn type_info(&self) -> Cow<'_, Absent<K>> {
        self.is_not()
    }

    fn is_null(&self) -> bool {
        self.is_not()
    }
}

impl<K: Transport> ValueRef<'_> for Absent<K> {
    type Database = PoolManager<K>;

    fn to_owned(&self) -> Absent<K> {
        self.is_not()
    }

    fn type_info(&self) -> Cow<'_, Absent<K>> {
        self.is_not()
    }

    fn is_null(&self) -> bool {
        self.is_not()
    }
}

impl<K: Transport> Statement for Absent<K> {
    type Database = PoolManager<K>;

    fn into_sql(self) -> SqlStr {
        self.is_not()
    }

    fn sql(&self) -> &SqlStr {
        self.is_not()
    }

    fn parameters(&self) -> Option<Either<&[Absent<K>], usize>> {
        self.is_not()
    }

    fn columns(&self) -> &[Absent<K>] {
        self.is_not()
    }

    fn query(&self) -> Query<'_, PoolManager<K>, NoArguments<K>> {
        self.is_not()
    }

    fn query_with<A: IntoArguments<PoolManager<K>>>(
        &self,
        _arguments: A,
    ) -> Query<'_, PoolManager<K>, A> {
        self.is_not()
    }

    fn query_as<O>(&self) -> QueryAs<'_, PoolManager<K>, O, NoArguments<K>>
    where
        O: for<'r> FromRow<'r, Absent<K>>,
    {
        self.is_not()
    }

    fn query_as_with<'s, O, A>(&'s self, _arguments: A) -> QueryAs<'s, PoolManager<K>, O, A>
    where
        O: for<'r> FromRow<'r, Absent<K>>,
        A: IntoArguments<PoolManager<K>>,
    {
        self.is_not()
    }

    fn query_scalar<O>(&self) -> QueryScalar<'_, PoolManager<K>, O, NoArguments<K>>
    where
        (O,): for<'r> FromRow<'r, Absent<K>>,
    {
        self.is_not()
    }

    fn query_scalar_with<'s, O, A>(&'s self, _arguments: A) -> QueryScalar<'s, PoolManager<K>, O, A>
    where
        (O,): for<'r> FromRow<'r, Absent<K>>,
        A: IntoArguments<PoolManager<K>>,
    {
        self.is_not()
    }
}

impl<K: Transport> Arguments for NoArguments<K> {
    type Database = PoolManager<K>;

    fn reserve(&mut self, _additional: usize, _size: usize) {}

    fn add<'t, T>(&mut self, _value: T) -> Result<(), BoxDynError>
    where
        T: Encode<'t, PoolManager<K>> + Type<PoolManager<K>>,
    {
        Err("there is nothing to encode for".into())
    }

    fn len(&self) -> usize {
        0
    }
}

impl<K> Default for NoArguments<K> {
    fn default() -> Self {
        NoArguments(PhantomData)
    }
}

impl<K> Clone for Absent<K> {
    fn clone(&self) -> Self {
        self.is_not()
    }
}

impl<K> PartialEq for Absent<K> {
    fn eq(&self, _other: &Self) -> bool {
        self.is_not()
    }
}

impl<K> fmt::Debug for Absent<K> {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.is_not()
    }
}

impl<K> fmt::Display for Absent<K> {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.is_not()
    }
}
