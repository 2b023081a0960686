/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a command prints: rows of typed values under columns declared once. The
 * user's -j decides whether they come out as an aligned table or as a JSON
 * array of objects; no command asks which. Rows stream: a long list is never
 * held in memory whole.
 *
 *	static const struct out_column columns[] = {
 *		{"service", "SERVICE", OUT_STRING},
 *		{"inflight", "INFLIGHT", OUT_UINT},
 *		{},
 *	};
 *	out_begin(cli->out, columns);
 *	for (each service) {
 *		out_string(cli->out, name);
 *		out_uint(cli->out, inflight);
 *		out_row(cli->out);
 *	}
 *	return cli_finish(cli);
 */
#ifndef SLUICE_OUT_H
#define SLUICE_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum out_type {
	OUT_STRING,
	OUT_UINT,
	OUT_REAL,   /* two decimals */
	OUT_BOOL,   /* text: yes, no */
	OUT_STATE,  /* a string; coloured by its word: ready, ok; warming, warn; down, fail; ... */
	OUT_LIST,   /* of strings; text: joined by commas */
	OUT_COUNTS, /* name -> number, a JSON object; text: "name number", zeroes left out */
};

struct out_column {
	const char *key;     /* snake_case, the JSON key; NULL: shown as text only */
	const char *heading; /* of the text column, never narrower than this; NULL: in JSON only */
	enum out_type type;
};

struct out;

/* Writes to `file`, which stays the caller's. 0, or -ENOMEM. */
int out_new(FILE *file, bool json, bool color, struct out **ret);
void out_free(struct out *out);

/* Starts a table. `columns` ends with an empty row and must outlive the table. */
void out_begin(struct out *out, const struct out_column *columns);
/* The same, but text shows each row as lines of "heading  value". */
void out_begin_record(struct out *out, const struct out_column *columns);

/* The next cell of the row, in the order of the columns. The column's type aligns and colours; a
 * number may stand in an OUT_STRING column. NULL as a string is null: "-" as text. */
void out_string(struct out *out, const char *value);
void out_stringf(struct out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void out_uint(struct out *out, uint64_t value);
void out_real(struct out *out, double value);
void out_bool(struct out *out, bool value);
void out_null(struct out *out); /* whatever the column's type */
/* OUT_LIST and OUT_COUNTS: any number of items, then out_close. */
void out_item(struct out *out, const char *value);
void out_count(struct out *out, const char *name, uint64_t value);
void out_close(struct out *out);
/* Ends the row; every column must have its cell. */
void out_row(struct out *out);

/* Shows the rows so far at once: for what follows events live. 0, or the first error. */
int out_flush(struct out *out);
/* A new round of the same table: text repeats the headings, JSON goes on with the array. */
void out_again(struct out *out);

/* A remark for people, printed below the table; JSON leaves it out. */
void out_note(struct out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the table and prints the notes. 0, or the first error: -ENOMEM, -EIO, -EPIPE, ... */
int out_end(struct out *out);

#endif
