#include "readings.h"

#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const Column READINGS[READING_COLUMNS] = {
    [ID] = {.name = "id", .type = INT64, .nullable = false},
    [STATION] = {.name = "station", .type = UTF8, .nullable = true},
    [VALUE] = {.name = "value", .type = FLOAT64, .nullable = true},
    [TAKEN_AT] = {.name = "taken_at", .type = TIMESTAMP_US_UTC, .nullable = true},
};

/* Reads so many digits. */
static bool digits(const char **at, int count, int *found) {
    *found = 0;
    for (; count; count--, (*at)++) {
        if (**at < '0' || **at > '9') return false;
        *found = *found * 10 + (**at - '0');
    }
    return true;
}

static bool taken(const char **at, char wanted) {
    if (**at != wanted) return false;
    (*at)++;
    return true;
}

/* Days since 1970 of the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"). */
static int64_t days_since_1970(int year, int month, int day) {
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

/* Reads YYYY-MM-DDTHH:MM:SS[.ffffff]Z. */
static bool read_moment(const char *text, int64_t *moment) {
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day, hour, minute, second, micros = 0;
    if (!digits(&text, 4, &year) || !taken(&text, '-') || !digits(&text, 2, &month) || !taken(&text, '-') ||
        !digits(&text, 2, &day) || !taken(&text, 'T') || !digits(&text, 2, &hour) || !taken(&text, ':') ||
        !digits(&text, 2, &minute) || !taken(&text, ':') || !digits(&text, 2, &second))
        return false;
    if (taken(&text, '.') && !digits(&text, 6, &micros)) return false;
    if (!taken(&text, 'Z') || *text) return false;
    bool leaps = month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (month < 1 || month > 12 || day < 1 || day > lengths[month - 1] + leaps) return false;
    if (hour > 23 || minute > 59 || second > 59) return false;
    *moment = (((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000000 + micros;
    return true;
}

/* The C library reads more than this: spaces before a number, hexadecimal ones, "nan". */
static bool has_only(const char *text, const char *allowed) { return *text && text[strspn(text, allowed)] == 0; }

static bool read_whole(const char *text, int64_t *value) {
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return has_only(text, "-0123456789") && *end == 0 && errno == 0;
}

static bool read_real(const char *text, double *value) {
    char *end;
    *value = strtod(text, &end);
    return has_only(text, "+-.0123456789Ee") && *end == 0 && isfinite(*value);
}

static bool is_utf8(const char *text, size_t size) {
    while (size) {
        size_t length = utf8_length((const unsigned char *)text, size);
        if (length == 0) return false;
        text += length;
        size -= length;
    }
    return true;
}

const char *add_reading(Column *columns, const char *line, size_t size, int *wrong) {
    char copy[1024];
    char *fields[READING_COLUMNS];
    *wrong = READING_COLUMNS;
    if (size >= sizeof copy) return "a line of more than 1,023 bytes";
    if (memchr(line, 0, size) || !is_utf8(line, size)) return "a line that is no text in UTF-8";
    memcpy(copy, line, size);
    copy[size] = 0;
    fields[0] = copy;
    int count = 1;
    for (char *at = copy; *at; at++) {
        if (*at != ';') continue;
        if (count == READING_COLUMNS) return "a line of more than 4 fields";
        *at = 0;
        fields[count++] = at + 1;
    }
    if (count < READING_COLUMNS) return "a line of fewer than 4 fields";

    int64_t id, moment = 0;
    double value = 0;
    *wrong = ID;
    if (!read_whole(fields[ID], &id)) return "an id that is no whole number of 64 bits";
    *wrong = VALUE;
    if (*fields[VALUE] && !read_real(fields[VALUE], &value)) return "a value that is no number";
    *wrong = TAKEN_AT;
    if (*fields[TAKEN_AT] && !read_moment(fields[TAKEN_AT], &moment)) return "a moment that is none, as 2026-01-02T03:04:05Z";

    column_add_whole(&columns[ID], id);
    if (*fields[STATION])
        column_add_text(&columns[STATION], fields[STATION], strlen(fields[STATION]));
    else
        column_add_null(&columns[STATION]);
    if (*fields[VALUE])
        column_add_real(&columns[VALUE], value);
    else
        column_add_null(&columns[VALUE]);
    if (*fields[TAKEN_AT])
        column_add_whole(&columns[TAKEN_AT], moment);
    else
        column_add_null(&columns[TAKEN_AT]);
    return NULL;
}
