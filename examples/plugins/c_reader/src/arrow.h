/* Arrow's IPC stream, written by hand: a schema, then record batches.
 *
 * https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
 * The numbers of fields and types are those of Arrow's Message.fbs and Schema.fbs. */
#ifndef ARROW_H
#define ARROW_H

#include "bytes.h"

#include <stdbool.h>

typedef enum { INT64, FLOAT64, UTF8, TIMESTAMP_US_UTC } ColumnType;

typedef struct {
    const char *name;
    ColumnType type;
    bool nullable;
    /* The rows so far. */
    Bytes validity; /* a bit for each, 1 where there is a value */
    Bytes offsets;  /* of texts: where each begins, and where the last one ends */
    Bytes values;
    int64_t rows;
    int64_t nulls;
} Column;

void column_add_null(Column *column);
/* Adds a whole number, or a moment in microseconds since 1970. */
void column_add_whole(Column *column, int64_t value);
void column_add_real(Column *column, double value);
/* Adds a text, which must be UTF-8. */
void column_add_text(Column *column, const char *text, size_t size);
void column_clear(Column *column);
void column_free(Column *column);
/* About what the rows so far take in a batch. */
size_t column_bytes(const Column *column);

/* Adds the message that tells the columns. */
void arrow_schema(Bytes *out, const Column *columns, size_t count);
/* Adds the message that holds the columns' rows, all of them of the same number. */
void arrow_batch(Bytes *out, const Column *columns, size_t count);
/* Adds the end of a stream. */
void arrow_end(Bytes *out);

#endif
