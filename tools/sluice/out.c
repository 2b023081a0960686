// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows of typed cells as an aligned text table, as a record of "heading  value"
 * lines, or as a JSON array of objects. JSON goes to the file cell by cell;
 * text waits in blocks of BLOCK_ROWS rows, so that columns are as wide as their
 * content and memory stays small whatever the number of rows. What is printed
 * comes from maps, so from input: it passes utf8.h. Called by every command.
 */
#include "out.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "strbuf.h"
#include "utf8.h"

#define BLOCK_ROWS 256
#define MAX_COLUMNS 40

#define COLOR_OFF "\033[0m"
#define COLOR_HEADING "\033[1m"

struct out {
	FILE *file;
	bool json, color;
	int error; /* the first one */

	const struct out_column *columns;
	size_t n_columns;
	bool record;
	size_t column; /* of the next cell */
	size_t n_items;/* in the list that is open */
	size_t n_rows; /* JSON: since out_begin; text: in the block */
	bool row_begun;    /* JSON: its first key is out */
	bool heading_done;
	size_t width[MAX_COLUMNS];

	struct strbuf cells; /* text: of the block, each ended by NUL */
	struct strbuf value; /* the cell under way, as it will be printed */
	struct strbuf notes;
};

/* ---- text ---------------------------------------------------------------------*/

static const char *state_color(const char *word)
{
	static const struct {
		const char *color;
		const char *words;
	} colors[] = {
		{"\033[32m", " ready ok alive honoured open "},
		{"\033[33m", " warming suspect draining warn mapped unsupported syn "},
		{"\033[31m", " down ejected fail dead unknown "},
	};
	char needle[32];

	snprintf(needle, sizeof(needle), " %s ", word);
	for (size_t i = 0; i < sizeof(colors) / sizeof(colors[0]); i++)
		if (strstr(colors[i].words, needle))
			return colors[i].color;
	return "";
}

static const char *cell_color(const struct out *out, size_t column, const char *text)
{
	return out->color && out->columns[column].type == OUT_STATE ? state_color(text) : "";
}

/* The first column from `i` on that text shows. */
static size_t shown(const struct out *out, size_t i)
{
	while (i < out->n_columns && !out->columns[i].heading)
		i++;
	return i;
}

#define FOR_EACH_SHOWN(i) for (size_t i = shown(out, 0); i < out->n_columns; i = shown(out, i + 1))

static void print_cell(struct out *out, size_t column, const char *text, const char *color)
{
	bool number = out->columns[column].type == OUT_UINT || out->columns[column].type == OUT_REAL;
	size_t width = utf8_width(text);
	int pad = width < out->width[column] ? (int)(out->width[column] - width) : 0;

	fprintf(out->file, "%*s%s%s%s", number ? pad : 0, "", color, text, *color ? COLOR_OFF : "");
	if (shown(out, column + 1) == out->n_columns)
		fputc('\n', out->file);
	else
		fprintf(out->file, "%*s", number ? 2 : pad + 2, "");
}

/* The text of cell (row, column) is the next in out->cells; moves on to the one after it. */
static const char *next_cell(const char **at)
{
	const char *text = *at;

	*at += strlen(text) + 1;
	return text;
}

/* Widths never shrink from block to block, so that a long table stays straight where it can. */
static void measure_block(struct out *out)
{
	const char *at = out->cells.data;
	size_t width;

	for (size_t row = 0; row < out->n_rows; row++) {
		FOR_EACH_SHOWN(i) {
			width = utf8_width(next_cell(&at));
			if (width > out->width[i])
				out->width[i] = width;
		}
	}
}

static void print_headings(struct out *out)
{
	FOR_EACH_SHOWN(i)
		print_cell(out, i, out->columns[i].heading, out->color ? COLOR_HEADING : "");
	out->heading_done = true;
}

static void print_block(struct out *out)
{
	const char *at = out->cells.data, *text;

	measure_block(out);
	if (!out->heading_done)
		print_headings(out);
	for (size_t row = 0; row < out->n_rows; row++) {
		FOR_EACH_SHOWN(i) {
			text = next_cell(&at);
			print_cell(out, i, text, cell_color(out, i, text));
		}
	}
}

static void print_record(struct out *out)
{
	const char *at = out->cells.data, *text, *color;
	size_t width = 0;

	for (size_t i = 0; i < out->n_columns; i++)
		if (out->width[i] > width)
			width = out->width[i];
	for (size_t row = 0; row < out->n_rows; row++) {
		FOR_EACH_SHOWN(i) {
			text = next_cell(&at);
			color = cell_color(out, i, text);
			fprintf(out->file, "%-*s  %s%s%s\n", (int)width, out->columns[i].heading,
				color, text, *color ? COLOR_OFF : "");
		}
	}
}

static void flush_text(struct out *out)
{
	if (strbuf_failed(&out->cells))
		out->error = -ENOMEM;
	else if (out->record)
		print_record(out);
	else
		print_block(out);
	out->n_rows = 0;
	out->cells.len = 0;
}

/* ---- a table --------------------------------------------------------------------*/

int out_new(FILE *file, bool json, bool color, struct out **ret)
{
	struct out *out = calloc(1, sizeof(*out));

	if (!out)
		return -ENOMEM;
	out->file = file;
	out->json = json;
	out->color = color;
	*ret = out;
	return 0;
}

void out_free(struct out *out)
{
	if (!out)
		return;
	strbuf_done(&out->cells);
	strbuf_done(&out->value);
	strbuf_done(&out->notes);
	free(out);
}

void out_begin(struct out *out, const struct out_column *columns)
{
	size_t n = 0;

	for (; columns[n].key || columns[n].heading; n++) {
		assert(n < MAX_COLUMNS);
		out->width[n] = columns[n].heading ? utf8_width(columns[n].heading) : 0;
	}
	out->columns = columns;
	out->n_columns = n;
	out->record = false;
	out->heading_done = false;
	out->column = 0;
	out->n_rows = 0;
	if (out->json)
		fputc('[', out->file);
}

void out_begin_record(struct out *out, const struct out_column *columns)
{
	out_begin(out, columns);
	out->record = true;
}

void out_row(struct out *out)
{
	assert(out->column == out->n_columns);
	out->column = 0;
	out->row_begun = false;
	out->n_rows++;
	if (out->json)
		fputc('}', out->file);
	else if (out->n_rows == BLOCK_ROWS)
		flush_text(out);
}

int out_flush(struct out *out)
{
	if (!out->json && out->n_rows)
		flush_text(out);
	if ((fflush(out->file) || ferror(out->file)) && !out->error)
		out->error = errno ? -errno : -EIO;
	return out->error;
}

void out_again(struct out *out)
{
	if (out->json)
		return;
	flush_text(out);
	fputc('\n', out->file);
	out->heading_done = false;
}

/* NULL, and remembered, without memory. */
static char *format_text(struct out *out, const char *format, va_list args)
{
	char *text = NULL;

	if (vasprintf(&text, format, args) >= 0)
		return text;
	out->error = -ENOMEM;
	return NULL;
}

void out_note(struct out *out, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = format_text(out, format, args);
	va_end(args);
	utf8_add_text(&out->notes, text ? text : "");
	strbuf_add(&out->notes, "\n");
	free(text);
}

int out_end(struct out *out)
{
	errno = 0;
	if (out->json)
		fputs(out->n_rows ? "\n]\n" : "]\n", out->file);
	else if (out->n_rows || !out->heading_done)
		flush_text(out);
	if (!out->json && out->notes.len)
		fputs(out->notes.data, out->file);
	if (strbuf_failed(&out->notes) || strbuf_failed(&out->value))
		out->error = -ENOMEM;
	out->notes.len = 0;
	return out_flush(out);
}

/* ---- its cells --------------------------------------------------------------------*/

/* One cell: `json` is printed as it is, `text` may hold anything. */
static void put(struct out *out, const char *json, const char *text)
{
	const struct out_column *column = &out->columns[out->column];

	assert(out->column < out->n_columns);
	if (out->json && column->key) {
		if (out->row_begun)
			fputs(", ", out->file);
		else
			fputs(out->n_rows ? ",\n {" : "\n {", out->file);
		out->row_begun = true;
		fprintf(out->file, "\"%s\": %s", column->key, json);
	}
	if (!out->json && column->heading) {
		utf8_add_text(&out->cells, text);
		strbuf_add_bytes(&out->cells, "", 1);
	}
	out->column++;
}

/* The same, of what was collected in out->value. */
static void put_value(struct out *out)
{
	const char *value = strbuf_failed(&out->value) ? "" : out->value.data;

	put(out, value, value);
	out->value.len = 0;
}

void out_string(struct out *out, const char *value)
{
	if (!value) {
		out_null(out);
	} else if (out->json) {
		utf8_add_json(&out->value, value);
		put_value(out);
	} else {
		put(out, NULL, value);
	}
}

void out_stringf(struct out *out, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = format_text(out, format, args);
	va_end(args);
	out_string(out, text);
	free(text);
}

void out_uint(struct out *out, uint64_t value)
{
	strbuf_add_u64(&out->value, value);
	put_value(out);
}

void out_real(struct out *out, double value)
{
	strbuf_addf(&out->value, "%.2f", value);
	put_value(out);
}

void out_bool(struct out *out, bool value)
{
	put(out, value ? "true" : "false", value ? "yes" : "no");
}

void out_null(struct out *out)
{
	put(out, "null", "-");
}

static void add_separator(struct out *out, char bracket, const char *text)
{
	if (out->json && out->n_items == 0)
		strbuf_add_bytes(&out->value, &bracket, 1);
	else if (out->n_items)
		strbuf_add(&out->value, out->json ? ", " : text);
	out->n_items++;
}

void out_item(struct out *out, const char *value)
{
	add_separator(out, '[', ",");
	if (out->json)
		utf8_add_json(&out->value, value);
	else
		strbuf_add(&out->value, value);
}

void out_count(struct out *out, const char *name, uint64_t value)
{
	if (!out->json && value == 0)
		return;
	add_separator(out, '{', ", ");
	if (out->json)
		utf8_add_json(&out->value, name);
	else
		strbuf_add(&out->value, name);
	strbuf_add(&out->value, out->json ? ": " : " ");
	strbuf_add_u64(&out->value, value);
}

void out_close(struct out *out)
{
	bool counts = out->columns[out->column].type == OUT_COUNTS;

	if (out->n_items == 0) {
		put(out, counts ? "{}" : "[]", "-");
		return;
	}
	if (out->json)
		strbuf_add(&out->value, counts ? "}" : "]");
	put_value(out);
	out->n_items = 0;
}
