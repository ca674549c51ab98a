#include "bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

void *allocated(void *old, size_t size) {
    void *found = realloc(old, size ? size : 1);
    if (found == NULL) die("out of memory: %zu bytes", size);
    return found;
}

static void reserve(Bytes *bytes, size_t size) {
    if (size > SIZE_MAX / 4 - bytes->size) die("too many bytes");
    size_t wanted = bytes->size + size;
    if (wanted <= bytes->room) return;
    size_t room = bytes->room ? bytes->room : 64;
    while (room < wanted) room *= 2;
    bytes->data = allocated(bytes->data, room);
    bytes->room = room;
}

size_t bytes_add(Bytes *bytes, const void *data, size_t size) {
    reserve(bytes, size);
    size_t at = bytes->size;
    if (size) {
        if (data)
            memcpy(bytes->data + at, data, size);
        else
            memset(bytes->data + at, 0, size);
    }
    bytes->size += size;
    return at;
}

void bytes_text(Bytes *bytes, const char *text) { bytes_add(bytes, text, strlen(text)); }

void bytes_format(Bytes *bytes, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int size = vsnprintf(NULL, 0, format, values);
    va_end(values);
    if (size < 0) die("a text cannot be written");
    reserve(bytes, (size_t)size + 1);
    va_start(values, format);
    vsnprintf(bytes->data + bytes->size, (size_t)size + 1, format, values);
    va_end(values);
    bytes->size += (size_t)size;
}

void bytes_pad(Bytes *bytes, size_t alignment) {
    size_t over = bytes->size % alignment;
    if (over) bytes_add(bytes, NULL, alignment - over);
}

void bytes_base64(Bytes *bytes, const void *data, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *from = data;
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        uint32_t three = (uint32_t)from[at] << 16;
        if (left > 1) three |= (uint32_t)from[at + 1] << 8;
        if (left > 2) three |= from[at + 2];
        char four[4] = {
            digits[three >> 18],
            digits[three >> 12 & 63],
            left > 1 ? digits[three >> 6 & 63] : '=',
            left > 2 ? digits[three & 63] : '=',
        };
        bytes_add(bytes, four, 4);
    }
}

void bytes_free(Bytes *bytes) {
    free(bytes->data);
    *bytes = (Bytes){0};
}
