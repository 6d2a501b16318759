package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Where the reasons of failures stand: those that all rooms share, and the table of error ⇄ code with a few more beside
// it.
const (
	sharedReasons = "internal/fault/fault.go"
	ownReasons    = "server/status.go"
)

// reasonGroup are the reasons of one block of constants, below its comment.
type reasonGroup struct {
	Title   string
	Reasons []reason
}

// reason is one kind of failure, as it crosses the socket.
type reason struct {
	Name, Code, Retry, Meaning string
}

// reasons are all that can go wrong for a caller, in the order of the constants.
func reasons(root string) (groups []reasonGroup, err error) {
	var files [2]*ast.File
	for i, name := range []string{sharedReasons, ownReasons} {
		files[i], err = parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
	}
	codes := codeTable(files[1])
	var unfit []error
	for _, file := range files {
		for _, decl := range file.Decls {
			group := reasonGroup{}
			block, ok := decl.(*ast.GenDecl)
			if !ok || block.Tok != token.CONST {
				continue
			}
			group.Title = strings.TrimSuffix(strings.Join(strings.Fields(block.Doc.Text()), " "), ".")
			for _, spec := range block.Specs {
				constant := spec.(*ast.ValueSpec)
				if text(constant.Type) != "Reason" {
					continue
				}
				name := constant.Names[0].Name
				code, known := codes[name]
				code.Meaning = strings.TrimSpace(constant.Comment.Text())
				if !known || code.Meaning == "" {
					unfit = append(unfit, fmt.Errorf("reason %s: no code in %s, or no comment beside it", name, ownReasons))
					continue
				}
				if code.Name, err = strconv.Unquote(constant.Values[0].(*ast.BasicLit).Value); err != nil {
					return nil, err
				}
				group.Reasons = append(group.Reasons, code)
			}
			if len(group.Reasons) > 0 {
				groups = append(groups, group)
			}
		}
	}
	if len(groups) == 0 {
		unfit = append(unfit, errors.New("no reasons found"))
	}
	return groups, errors.Join(unfit...)
}

// codeTable reads the map from reasons to kinds: each reason's code, and whether another try is suggested, by the name of
// its constant.
func codeTable(file *ast.File) map[string]reason {
	table := map[string]reason{}
	for n := range ast.Preorder(file) {
		pair, ok := n.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		kind, ok := pair.Value.(*ast.CompositeLit)
		if !ok {
			continue
		}
		r := reason{Retry: "no"}
		for _, element := range kind.Elts {
			switch field, _ := element.(*ast.KeyValueExpr); {
			case field == nil:
			case text(field.Key) == "code":
				r.Code = screaming(text(field.Value))
			case text(field.Key) == "retry" && text(field.Value) == "true":
				r.Retry = "yes"
			}
		}
		table[text(pair.Key)] = r
	}
	return table
}

// text is a name, or the last part of a qualified one.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// screaming writes a code of gRPC as its specification does: NotFound is NOT_FOUND.
func screaming(camel string) string {
	words := []byte{}
	for i, c := range []byte(camel) {
		if i > 0 && c >= 'A' && c <= 'Z' {
			words = append(words, '_')
		}
		words = append(words, c)
	}
	return strings.ToUpper(string(slices.Clip(words)))
}
