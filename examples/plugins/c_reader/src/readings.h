/* Files of readings: a line for each, `id;station;value;moment`, such as `17;Oslo;-3.5;2026-01-02T03:04:05Z`.
 *
 * All but the id may be left empty. A line that begins with # is a comment. A line counts once it has its line end:
 * before, somebody is still writing it. */
#ifndef READINGS_H
#define READINGS_H

#include "arrow.h"

#include <stdio.h>

enum { ID, STATION, VALUE, TAKEN_AT, READING_COLUMNS };
extern const Column READINGS[READING_COLUMNS];

/* Adds a line, without its line end, to the columns; gives NULL, or says in words what is wrong and adds nothing. `wrong`
 * then is the column at fault, READING_COLUMNS where it is the line as a whole. */
const char *add_reading(Column *columns, const char *line, size_t size, int *wrong);

#endif
