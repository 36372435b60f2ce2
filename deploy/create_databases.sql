-- Run once by the postgres image, when its volume is empty. POSTGRES_DB (the ledger's) exists by then.
CREATE DATABASE dagster;
