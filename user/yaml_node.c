// SPDX-License-Identifier: GPL-2.0-only
/*
 * Questions to a parsed node: what type its text is of, its value, its path.
 * Types are those that the Kubernetes API server would see in the same text.
 * Called by decode and by the parser itself.
 */
#include "yaml.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FEW_KEYS 24u /* up to here comparing all keys beats sorting them */

static const char *const true_words[] = {"true", "yes", "on", NULL};
static const char *const false_words[] = {"false", "no", "off", NULL};
static const char *const float_words[] = {".inf", "-.inf", "+.inf", ".nan", NULL};

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (!strcasecmp(text, *words))
			return true;
	return false;
}

static bool is_int(const char *text)
{
	text += *text == '-' || *text == '+';
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'o'))
		return text[2] && !text[2 + strspn(text + 2, "0123456789abcdefABCDEF")];
	return *text && !text[strspn(text, "0123456789")];
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_float(const char *text)
{
	size_t before, after = 0;

	text += *text == '-' || *text == '+';
	before = strspn(text, "0123456789");
	text += before;
	if (*text == '.') {
		after = strspn(text + 1, "0123456789");
		text += 1 + after;
	}
	if (!before && !after)
		return false;
	if (*text == 'e' || *text == 'E') {
		text += 1 + (text[1] == '-' || text[1] == '+');
		if (!isdigit((unsigned char)*text))
			return false;
		text += strspn(text, "0123456789");
	}
	return !*text;
}

enum yaml_type yaml_resolve(const char *text)
{
	if (!*text || !strcmp(text, "~") || !strcasecmp(text, "null"))
		return YAML_NULL;
	if (strchr("tTfFyYnNoO", *text) &&
	    (is_one_of(text, true_words) || is_one_of(text, false_words)))
		return YAML_BOOL;
	if (!strchr("-+.0123456789", *text))
		return YAML_STRING;
	if (is_int(text))
		return YAML_INT;
	return is_float(text) || is_one_of(text, float_words) ? YAML_FLOAT : YAML_STRING;
}

const char *yaml_type_name(enum yaml_type type)
{
	static const char *const names[] = {
		[YAML_NULL] = "null",          [YAML_BOOL] = "a boolean",
		[YAML_INT] = "a whole number", [YAML_FLOAT] = "a number",
		[YAML_STRING] = "a string",    [YAML_MAP] = "a map",
		[YAML_LIST] = "a list",
	};

	return names[type];
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
	if (!map || map->type != YAML_MAP)
		return NULL;
	for (const struct yaml_node *child = map->first; child; child = child->next)
		if (!strcmp(child->key, key))
			return child->type == YAML_NULL ? NULL : child;
	return NULL;
}

static int compare_keys(const void *a, const void *b)
{
	const struct yaml_node *x = *(const struct yaml_node *const *)a;
	const struct yaml_node *y = *(const struct yaml_node *const *)b;
	int order = strcmp(x->key, y->key);

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

static int find_doubled_sorted(const struct yaml_node *map, const struct yaml_node **ret)
{
	const struct yaml_node **sorted = calloc(map->n, sizeof(struct yaml_node *));
	size_t n = 0;

	if (!sorted)
		return -ENOMEM;
	for (const struct yaml_node *child = map->first; child; child = child->next)
		sorted[n++] = child;
	qsort(sorted, n, sizeof(struct yaml_node *), compare_keys);
	for (size_t i = 1; i < n; i++)
		if (!strcmp(sorted[i - 1]->key, sorted[i]->key))
			*ret = sorted[i];
	free(sorted);
	return 0;
}

int yaml_find_doubled(const struct yaml_node *map, const struct yaml_node **ret)
{
	*ret = NULL;
	if (map->n > FEW_KEYS)
		return find_doubled_sorted(map, ret);
	for (const struct yaml_node *child = map->first; child; child = child->next)
		for (const struct yaml_node *next = child->next; next; next = next->next)
			if (!strcmp(child->key, next->key))
				*ret = next;
	return 0;
}

static bool is_plain_key(const char *key)
{
	for (; *key; key++)
		if (!isalnum((unsigned char)*key) && *key != '_' && *key != '-')
			return false;
	return true;
}

/* By hand: the path of every field of thousands of objects is written, and printf() is slow. */
static void append(char *buf, size_t len, size_t *used, const char *text)
{
	while (*text && *used + 1 < len)
		buf[(*used)++] = *text++;
	buf[*used] = '\0';
}

static void append_path(const struct yaml_node *node, const struct yaml_node *root, char *buf,
			size_t len, size_t *used)
{
	char index[16];

	if (node == root || !node->parent)
		return;
	append_path(node->parent, root, buf, len, used);
	if (node->key && is_plain_key(node->key)) {
		append(buf, len, used, *used ? "." : "");
		append(buf, len, used, node->key);
		return;
	}
	if (!node->key)
		snprintf(index, sizeof(index), "%u", node->index);
	append(buf, len, used, "[");
	append(buf, len, used, node->key ? node->key : index);
	append(buf, len, used, "]");
}

const char *yaml_path(const struct yaml_node *node, const struct yaml_node *root, char *buf,
		      size_t len)
{
	size_t used = 0;

	buf[0] = '\0';
	append_path(node, root, buf, len, &used);
	return buf;
}

int yaml_int(const struct yaml_node *node, int64_t min, int64_t max, int64_t *ret)
{
	const char *digits = node->text + (node->text[0] == '-');
	long long value;

	/* 0x, 0o and leading zeros mean different numbers to different readers of YAML. */
	if (*digits == '+' || (*digits == '0' && digits[1]))
		return -EINVAL;
	errno = 0;
	value = strtoll(node->text, NULL, 10);
	if (errno || value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

bool yaml_bool(const struct yaml_node *node)
{
	return is_one_of(node->text, true_words);
}
