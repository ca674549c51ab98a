/* Growing bytes. Whatever runs out of memory ends the process: the engine tells its user, and nothing was committed. */
#ifndef BYTES_H
#define BYTES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *data;
    size_t size;
    size_t room;
} Bytes;

/* Adds `size` bytes, zeros where `data` is NULL, and gives the place of the first. */
size_t bytes_add(Bytes *bytes, const void *data, size_t size);
void bytes_text(Bytes *bytes, const char *text);
void bytes_format(Bytes *bytes, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds zeros up to a multiple of `alignment`. */
void bytes_pad(Bytes *bytes, size_t alignment);
void bytes_base64(Bytes *bytes, const void *data, size_t size);
void bytes_free(Bytes *bytes);

void *allocated(void *old, size_t size);
/* Prints to stderr, whose last lines the engine repeats in its error, and ends the process. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
