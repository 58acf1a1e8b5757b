package harness

import "context"

func (a *fakeApp) ChangeScaling(context.Context, string) error     { return nil }
func (a *fakeApp) WaitScaling(context.Context, string, bool) error { return nil }
func (a *fakeApp) WaitNone(context.Context) error                  { return nil }
func (a *fakeApp) ScaleBack(context.Context) error                 { return nil }
