//! FlexCore
