/* Rows made by C and handed over through Arrow's C stream interface (its structures are those of the specification). */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ArrowSchema {
  const char *format, *name, *metadata;
  int64_t flags, n_children;
  struct ArrowSchema **children, *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray {
  int64_t length, null_count, offset, n_buffers, n_children;
  const void **buffers;
  struct ArrowArray **children, *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *);
  int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *);
  const char *(*get_last_error)(struct ArrowArrayStream *);
  void (*release)(struct ArrowArrayStream *);
  void *private_data;
};

enum { COLUMNS = 10, BATCH_ROWS = 65536, TEXT_BYTES = 24 };

static const char *const NAMES[COLUMNS] = {"id",    "ts",     "customer", "quantity", "amount",
                                           "score", "status", "place",    "contact",  "note"};
/* int64, timestamp, float64 and utf8 */
static const char *const FORMATS[COLUMNS] = {"l", "tsu:UTC", "l", "l", "g", "g", "u", "u", "u", "u"};

struct rows {
  int64_t next, end;
};

static void release_schema(struct ArrowSchema *schema) {
  for (int64_t at = 0; at < schema->n_children; at++) {
    schema->children[at]->release(schema->children[at]);
    free(schema->children[at]);
  }
  free(schema->children);
  schema->release = NULL;
}

static void describe(struct ArrowSchema *schema, const char *format, const char *name, int64_t children) {
  *schema = (struct ArrowSchema){.format = format, .name = name, .n_children = children, .release = release_schema};
  schema->children = children ? calloc((size_t)children, sizeof *schema->children) : NULL;
}

static int get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *schema) {
  (void)stream;
  describe(schema, "+s", "", COLUMNS);
  for (int at = 0; at < COLUMNS; at++) {
    schema->children[at] = malloc(sizeof **schema->children);
    describe(schema->children[at], FORMATS[at], NAMES[at], 0);
  }
  return 0;
}

static void release_array(struct ArrowArray *array) {
  for (int64_t at = 0; at < array->n_children; at++) {
    array->children[at]->release(array->children[at]);
    free(array->children[at]);
  }
  for (int64_t at = 0; at < array->n_buffers; at++) free((void *)array->buffers[at]);
  free(array->children);
  free(array->buffers);
  array->release = NULL;
}

static void begin(struct ArrowArray *array, int64_t length, int64_t buffers, int64_t children) {
  *array = (struct ArrowArray){
      .length = length, .n_buffers = buffers, .n_children = children, .release = release_array};
  array->buffers = calloc((size_t)buffers, sizeof *array->buffers);
  array->children = children ? calloc((size_t)children, sizeof *array->children) : NULL;
}

static void numbers(struct ArrowArray *array, int column, int64_t first, int64_t count) {
  int64_t *values = malloc((size_t)count * sizeof *values);
  begin(array, count, 2, 0);
  array->buffers[1] = values;
  for (int64_t at = 0; at < count; at++) {
    int64_t row = first + at;
    double amount = (double)(row % 1000000) / 100, score = (double)row / 3;
    switch (column) {
      case 1: values[at] = 1767225600000000 + row * 1000000; break;
      case 2: values[at] = row * 7 % 500000; break;
      case 3: values[at] = row % 100; break;
      case 4: memcpy(&values[at], &amount, sizeof amount); break;
      case 5: memcpy(&values[at], &score, sizeof score); break;
      default: values[at] = row;
    }
  }
}

static void texts(struct ArrowArray *array, int column, int64_t first, int64_t count) {
  int32_t *offsets = malloc((size_t)(count + 1) * sizeof *offsets);
  char *bytes = malloc((size_t)count * TEXT_BYTES * 2);
  begin(array, count, 3, 0);
  array->buffers[1] = offsets;
  array->buffers[2] = bytes;
  offsets[0] = 0;
  for (int64_t at = 0; at < count; at++) {
    char *to = bytes + offsets[at];
    long long row = (long long)(first + at);
    int length = column == 6   ? sprintf(to, "shipped")
                 : column == 7 ? sprintf(to, "berlin")
                 : column == 8 ? sprintf(to, "customer no. %lld", row * 7 % 500000)
                               : sprintf(to, "order no. %lld to berlin", row);
    offsets[at + 1] = offsets[at] + length;
  }
}

static int get_next(struct ArrowArrayStream *stream, struct ArrowArray *array) {
  struct rows *rows = stream->private_data;
  int64_t left = rows->end - rows->next, count = left < BATCH_ROWS ? left : BATCH_ROWS;
  if (count == 0) {
    array->release = NULL;
    return 0;
  }
  begin(array, count, 1, COLUMNS);
  for (int at = 0; at < COLUMNS; at++) {
    array->children[at] = malloc(sizeof **array->children);
    (at < 6 ? numbers : texts)(array->children[at], at, rows->next, count);
  }
  rows->next += count;
  return 0;
}

static const char *last_error(struct ArrowArrayStream *stream) {
  (void)stream;
  return NULL;
}

static void release_stream(struct ArrowArrayStream *stream) {
  free(stream->private_data);
  stream->release = NULL;
}

void make_rows(struct ArrowArrayStream *stream, int64_t count) {
  struct rows *rows = malloc(sizeof *rows);
  *rows = (struct rows){.next = 0, .end = count};
  *stream = (struct ArrowArrayStream){get_schema, get_next, last_error, release_stream, rows};
}
