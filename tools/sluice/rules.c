// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which chains there are, where each leads, and which one has a rule against INVALID packets. Other
 * conditions of a rule are not weighed: it may be for other interfaces. Called by doctor_firewall.
 */
#include "rules.h"

#include <ctype.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct jump {
	struct rules_chain *to;
	struct jump *next;
};

struct rules_chain {
	char *name; /* after its table */
	bool met;   /* by forwarded packets */
	bool drops; /* INVALID ones */
	struct jump *jumps;
	struct rules_chain *next;
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct rules_chain *)a)->name, ((const struct rules_chain *)b)->name);
}

static void keep(void *chain)
{
}

void rules_done(struct rules *rules)
{
	struct rules_chain *chain;
	struct jump *jump;

	tdestroy(rules->by_name, keep);
	while ((chain = rules->chains)) {
		rules->chains = chain->next;
		while ((jump = chain->jumps)) {
			chain->jumps = jump->next;
			free(jump);
		}
		free(chain->name);
		free(chain);
	}
	free(rules->table);
	*rules = (struct rules){};
}

static void set_table(struct rules *rules, const char *owner, const char *name)
{
	free(rules->table);
	rules->chain = NULL;
	if (asprintf(&rules->table, "%s %s", owner, name) < 0) {
		rules->table = NULL;
		rules->failed = true;
	}
}

static void forget_table(struct rules *rules)
{
	free(rules->table);
	rules->table = NULL;
	rules->chain = NULL;
}

/* The chain of this name in the table that is read; NULL: out of memory. */
static struct rules_chain *find_chain(struct rules *rules, const char *name)
{
	struct rules_chain *chain = calloc(1, sizeof(*chain)), **at = NULL;

	if (chain && asprintf(&chain->name, "%s %s", rules->table, name) < 0)
		chain->name = NULL;
	if (chain && chain->name)
		at = tsearch(chain, &rules->by_name, compare_names);
	if (at && *at == chain) {
		chain->next = rules->chains;
		rules->chains = chain;
		return chain;
	}
	free(chain ? chain->name : NULL);
	free(chain);
	rules->failed |= !at;
	return at ? *at : NULL;
}

static void add_jump(struct rules *rules, struct rules_chain *from, const char *name)
{
	struct rules_chain *to = find_chain(rules, name);
	struct jump *jump = to ? malloc(sizeof(*jump)) : NULL;

	if (!jump) {
		rules->failed = true;
		return;
	}
	*jump = (struct jump){.to = to, .next = from->jumps};
	from->jumps = jump;
}

static bool is_one_of(const char *word, const char *const *words)
{
	while (*words && strcasecmp(word, *words))
		words++;
	return *words;
}

static bool is_hook_of_forwarded(const char *word)
{
	static const char *const hooks[] = {"prerouting", "forward", "postrouting", NULL};

	return is_one_of(word, hooks);
}

/* Of chains the name is believed: LOGDROP and the like. */
static bool is_drop(const char *target)
{
	return !strcasecmp(target, "reject") || strcasestr(target, "drop");
}

static const char *skip_quoted(const char *at)
{
	for (at++; *at && *at != '"'; at++)
		if (*at == '\\' && at[1])
			at++;
	return *at ? at + 1 : at;
}

/* The next word, split off; NULL at the end. What is quoted (comments, names of interfaces) is no word,
 * and commas and braces part words as blanks do. */
static char *next_word(char **at)
{
	char *word = *at;

	while (*word && (isspace((unsigned char)*word) || strchr(",{}\"", *word)))
		word = *word == '"' ? (char *)skip_quoted(word) : word + 1;
	if (!*word)
		return NULL;
	*at = word + strcspn(word, " \t\n,{}");
	if (**at)
		*(*at)++ = '\0';
	return word;
}

/* ---- iptables-save --------------------------------------------------------------------- */

/* What follows "-A CHAIN": conditions and a target. */
static void add_save_rule(struct rules *rules, struct rules_chain *chain, char *at)
{
	bool negated = false, states = false, invalid = false;
	const char *word, *target;

	while ((word = next_word(&at))) {
		if (!strcmp(word, "-j") || !strcmp(word, "-g")) {
			target = next_word(&at);
			if (!target)
				return;
			chain->drops |= invalid && is_drop(target);
			add_jump(rules, chain, target);
		}
		if (!strcmp(word, "--ctstate") || !strcmp(word, "--state"))
			states = !negated;
		else if (*word == '-')
			states = false;
		else if (states && !strcmp(word, "INVALID"))
			invalid = true;
		negated = !strcmp(word, "!");
	}
}

void rules_add_save(struct rules *rules, const char *program, char *line)
{
	struct rules_chain *chain;
	char *at = line + 1;
	const char *word;

	if (*line == '*') {
		word = next_word(&at);
		if (word && strcmp(word, "nat")) /* nothing can be dropped there */
			set_table(rules, program, word);
		else
			forget_table(rules);
	}
	if (!rules->table || (*line != ':' && strncmp(line, "-A ", 3)))
		return;
	if (*line == '-')
		at = line + 3;
	word = next_word(&at);
	chain = word ? find_chain(rules, word) : NULL;
	if (chain && *line == ':')
		chain->met |= is_hook_of_forwarded(word);
	else if (chain)
		add_save_rule(rules, chain, at);
}

/* ---- nft list ruleset ------------------------------------------------------------------- */

/* "ct state invalid drop", "ct state vmap { established : accept, invalid : drop }", and so on. */
static void add_nft_rule(struct rules *rules, char *word, char *at)
{
	static const char *const verdicts[] = {"accept", "drop", "reject", "jump", "goto", "return",
					       "continue", "queue", NULL};
	bool states = false, invalid = false, mapped = false;
	const char *before = "", *target;

	for (; word; before = word, word = next_word(&at)) {
		if (!strcmp(word, "state") && !strcmp(before, "ct"))
			states = true;
		else if (!strcmp(word, "!="))
			states = false;
		else if (states && !strcmp(word, "invalid"))
			invalid = true;
		else if (!strcmp(word, ":"))
			mapped = !strcmp(before, "invalid");
		if (!is_one_of(word, verdicts))
			continue;
		target = *word == 'j' || *word == 'g' ? next_word(&at) : word;
		if (target && target != word)
			add_jump(rules, rules->chain, target);
		rules->chain->drops |= target && invalid && is_drop(target);
		if (mapped) /* what comes now is of other states */
			invalid = mapped = false;
	}
}

static void begin_nft_table(struct rules *rules, char *at)
{
	static const char *const families[] = {"ip", "ip6", "inet", NULL};
	const char *family = next_word(&at), *name = next_word(&at);

	if (name && is_one_of(family, families))
		set_table(rules, family, name);
	else
		forget_table(rules);
}

void rules_add_nft(struct rules *rules, char *line)
{
	char *at = line, *word = next_word(&at), *name;

	if (!word) { /* a closing brace */
		rules->chain = NULL;
	} else if (!strcmp(word, "table")) {
		begin_nft_table(rules, at);
	} else if (rules->table && !rules->chain && !strcmp(word, "chain")) {
		name = next_word(&at);
		rules->chain = name ? find_chain(rules, name) : NULL;
	} else if (rules->chain && !strcmp(word, "type")) {
		while (word && strcmp(word, "hook"))
			word = next_word(&at);
		name = word ? next_word(&at) : NULL;
		rules->chain->met |= name && is_hook_of_forwarded(name);
	} else if (rules->chain) {
		add_nft_rule(rules, word, at);
	}
}

/* ---- the answer -------------------------------------------------------------------------- */

/* Marks where a chain that is met leads. Whether that was news. */
static bool follow_jumps(const struct rules_chain *chain)
{
	bool news = false;

	for (const struct jump *jump = chain->jumps; chain->met && jump; jump = jump->next) {
		news |= !jump->to->met;
		jump->to->met = true;
	}
	return news;
}

bool rules_drop_invalid(struct rules *rules)
{
	bool news;

	do {
		news = false;
		for (struct rules_chain *chain = rules->chains; chain; chain = chain->next)
			news |= follow_jumps(chain);
	} while (news);
	for (struct rules_chain *chain = rules->chains; chain; chain = chain->next)
		if (chain->met && chain->drops)
			return true;
	return false;
}
