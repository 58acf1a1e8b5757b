package scenarios

import "context"

func (f *fakeApp) ChooseNode(context.Context) (string, error) { return "n1", f.do("choose") }
func (f *fakeApp) RestoreNodes(context.Context) error         { return f.do("restore nodes") }
